"""Power cuts: a daemon that the kernel kills at a chosen line of its journal.

    echo '{"side": "buyer", "state": "locked", "before": false}' > cut.json
    python -m tests.support.killing cut.json run --datadir …

The daemon is the real one; only `Deals.save` is wrapped, so that SIGKILL falls between two instructions that no test
could hit from outside. The file is looked at before every line: it can be laid down while the daemon runs, and it is
used up by the cut, so that the daemon which starts next lives.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Literal

import msgspec


class PowerCut(msgspec.Struct, frozen=True):
    """When the power goes: at which state of whose side; right after the journal has it, or right before."""

    side: Literal["buyer", "seller"]
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

    save = Deals.save

    async def save_or_die(self: Deals, deal: Deal) -> None:
        cut = _next(file, deal.role, deal.state)
        if cut is not None and cut.before:
            _die(file)
        await save(self, deal)
        if cut is not None:
            _die(file)

    Deals.save = save_or_die  # type: ignore[method-assign]


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
