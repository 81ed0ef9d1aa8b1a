"""Directory: which contract a name stands for now, behind a delay. It only names."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.bindings.binding import Binding, View
from contracts.params import text32
from contracts.values import Call


class Change(View, frozen=True):
    """A change that was announced; `target` is the zero address when there is none. `ready_at` in UTC seconds."""

    target: str
    ready_at: int


class Directory(Binding):
    """Names are the short names of a deployment ("sale", "bank", …)."""

    def schedule(self, name: str, target: str) -> Call:
        """By the owner: `name` will stand for `target` once the delay has passed and somebody enacts it."""
        return self._call("schedule", text32(name), target)

    def cancel(self, name: str) -> Call:
        return self._call("cancel", text32(name))

    def enact(self, name: str) -> Call:
        """By anyone, once the delay has passed."""
        return self._call("enact", text32(name))

    async def lookup(self, name: str) -> str:
        """The address; zero for a name that is not in use."""
        return await self._account("lookup", text32(name))

    async def pending(self, name: str) -> Change:
        return await self._struct(Change, "pending", text32(name))

    async def standing(self, names: Sequence[str]) -> list[tuple[str, str, Change]]:
        """Each name with its address now and what was announced, in one round trip."""
        reads = [(view, (text32(name),)) for name in names for view in ("lookup", "pending")]
        found = await self._read_many(reads, "latest")
        return [(name, found[2 * i], Change(*found[2 * i + 1])) for i, name in enumerate(names)]

    async def names(self) -> list[str]:
        found: list[bytes] = await self._read("names")
        return [name.rstrip(b"\0").decode(errors="replace") for name in found]

    async def delay(self) -> int:
        """Seconds between announcing a change and its counting."""
        return await self._whole("delay")
