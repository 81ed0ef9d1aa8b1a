"""Telling the DHT what is to be had here, again before the records run out, one key at a time.

What that is, is asked anew each time (pins and shares on disk, topics in memory), so a restart has nothing to restore:
it tells all of it again, spread over time. A new record is told a few times soon, for the peers that have just come.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog
import trio

log = structlog.get_logger(__name__)

AGAIN_S = (60.0, 600.0, 3_600.0)  # after the first, second and third time that peers took a record
REPUBLISH_S = 21_600.0  # from then on: four times in the life of a record
UNHEARD_S, LONGEST_UNHEARD_S = 2.0, 300.0  # nobody took it: there may be no peers yet
PAUSE_S = 0.1  # between two keys: a thousand of them take two minutes, and leave room for others
LOOK_S = 60.0  # a pin that nobody stirred for is seen all the same


class Finder(Protocol):
    """Keeps our records; `Dht` is one."""

    async def provide(self, key: bytes) -> int: ...
    def withdraw(self, key: bytes) -> None: ...


class _Record:
    def __init__(self, due: float) -> None:
        self.due = due
        self.times = 0  # that peers took it
        self.unheard = 0  # in a row


class Providing:
    """Run it as a task; `stir` it when what `offered` says has changed. Keys are multihashes."""

    def __init__(
        self, finder: Finder, offered: Callable[[], Awaitable[Sequence[bytes]]], rng: random.Random | None = None
    ) -> None:
        self._finder = finder
        self._offered = offered
        self._rng = rng or random.Random()  # noqa: S311 - spreads work over time, guards nothing
        self._records: dict[bytes, _Record] = {}
        self._stirred = trio.Event()

    @property
    def providing(self) -> int:
        """Keys of which peers keep a record."""
        return sum(record.times > 0 for record in self._records.values())

    def stir(self) -> None:
        """Look at once what is offered."""
        self._stirred.set()

    async def run(self) -> None:
        self._stirred.set()
        looked = trio.current_time()
        while True:
            if self._stirred.is_set() or trio.current_time() - looked >= LOOK_S:
                self._stirred, looked = trio.Event(), trio.current_time()
                self._take(await self._offered(), looked)
            due = [key for key, record in self._records.items() if record.due <= trio.current_time()]
            if due:
                await self._tell(self._rng.choice(due))
                await trio.sleep(PAUSE_S)
                continue
            soonest = min((record.due for record in self._records.values()), default=float("inf"))
            with trio.move_on_at(min(soonest, trio.current_time() + LOOK_S)):
                await self._stirred.wait()

    def _take(self, offered: Sequence[bytes], now: float) -> None:
        """Begin with what is new, stop with what is offered no longer."""
        for key in self._records.keys() - set(offered):
            del self._records[key]
            self._finder.withdraw(key)
        for key in offered:
            self._records.setdefault(key, _Record(now))

    async def _tell(self, key: bytes) -> None:
        record = self._records[key]
        told = await self._finder.provide(key)
        if told:
            wait = AGAIN_S[record.times] if record.times < len(AGAIN_S) else REPUBLISH_S
            record.times, record.unheard = record.times + 1, 0
        else:
            wait = min(LONGEST_UNHEARD_S, UNHEARD_S * 2.0 ** min(record.unheard, 16))
            record.unheard += 1
        record.due = trio.current_time() + wait * self._rng.uniform(0.75, 1.0)
        log.debug("record told", key=key.hex(), peers=told)
