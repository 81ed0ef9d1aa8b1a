"""Power cuts: a daemon that the kernel kills at a chosen line of its journal, of a deal or of a publication.

    echo '{"side": "buyer", "state": "locked", "before": false}' > cut.json
    python -m tests.support.killing cut.json run --datadir …

The daemon is the real one; only the journal's own methods are wrapped, so that SIGKILL falls between two instructions
that no test could hit from outside. The file is looked at before every line: it can be laid down while the daemon runs,
and it is used up by the cut, so that the daemon which starts next lives.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec


class PowerCut(msgspec.Struct, frozen=True):
    """When the power goes: at which state of whose side; right after the journal has it, or right before."""

    side: Literal["buyer", "seller", "publication"]
    state: str
    before: bool = False

    @property
    def name(self) -> str:
        return f"{self.side}-{'before' if self.before else 'after'}-{self.state}"

    def lay(self, file: Path) -> None:
        """Write it down, at once or not at all."""
        draft = file.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(self))
        os.replace(draft, file)


def arm(file: Path) -> None:
    """Make this process die of the cut that lies in `file`, now or later."""
    from node.journal.deals import Deal, Deals
    from node.journal.publications import Publication, Publications

    save, begin, advance = Deals.save, Publications.begin, Publications.advance

    async def save_or_die(self: Deals, deal: Deal) -> None:
        with _power(file, deal.role, deal.state):
            await save(self, deal)

    async def begin_or_die(self: Publications, row: Publication) -> None:
        with _power(file, "publication", row.state):
            await begin(self, row)

    async def advance_or_die(self: Publications, publication: str, state: Any, **fields: int | str) -> bool:
        with _power(file, "publication", state):
            return await advance(self, publication, state, **fields)

    Deals.save = save_or_die  # type: ignore[method-assign]
    Publications.begin = begin_or_die  # type: ignore[method-assign]
    Publications.advance = advance_or_die  # type: ignore[method-assign]


@contextmanager
def _power(file: Path, side: str, state: str) -> Iterator[None]:
    cut = _next(file, side, state)
    if cut is not None and cut.before:
        _die(file)
    yield
    if cut is not None:
        _die(file)


def _next(file: Path, side: str, state: str) -> PowerCut | None:
    try:
        cut = msgspec.json.decode(file.read_bytes(), type=PowerCut)
    except FileNotFoundError:
        return None
    return cut if (cut.side, cut.state) == (side, state) else None


def _die(file: Path) -> None:
    file.unlink()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    from node.cli.main import main

    arm(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
