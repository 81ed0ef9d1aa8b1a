"""Power cuts: a daemon that the kernel kills at a chosen step of its journal or of its outbox.

    echo '{"side": "buyer", "state": "locked", "before": false}' > cut.json
    python -m tests.support.killing cut.json run --datadir …

The daemon is the real one; only the journal's own methods and the call that sends a transaction are wrapped, so that
SIGKILL falls between two instructions that no test could hit from outside. The file is looked at before every step: it
can be laid down while the daemon runs, and it is used up by the cut, so that the daemon which starts next lives.

Steps have names, `side` and `state`:

    buyer, seller, publication    a state of a deal's machine, or of an offer on its way to the market
    outbox                        a transaction, `<kind of its key>:<step>`: open (signed, not sent), sent, done, …
    journal                       any other write, by the function that wrote it: `Till._take`, `Takings.settled`, …

Every step that a daemon takes is told to the file `steps.log` beside the cut, while there is one: so a test finds what
there is to be killed at, and a new step cannot be forgotten.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

SENT = "sent"  # beside the outbox's states: given to the endpoint, no answer written down
OTHERWISE = ("Transactions.", "Deals.", "Publications.")  # writes that have names of their own
Side = Literal["buyer", "seller", "publication", "outbox", "journal"]
WORD = re.compile(r"[a-z_]+\Z")
HEX = re.compile(r"[0-9a-f]{8,}\Z")


class PowerCut(msgspec.Struct, frozen=True):
    """When the power goes: at which step, the first time or after `skip` others; right after it, or right before."""

    side: Side
    state: str
    before: bool = False
    skip: int = 0

    @property
    def name(self) -> str:
        state = self.state.replace(":", "-") + (f"-{self.skip + 1}" if self.skip else "")
        return f"{self.side}-{'before' if self.before else 'after'}-{state}"

    @property
    def step(self) -> str:
        """As it stands in `steps.log`."""
        return f"{self.side} {self.state}"

    def lay(self, file: Path) -> None:
        """Write it down, at once or not at all."""
        draft = file.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(self))
        os.replace(draft, file)


def around(side: Side, state: str, skip: int = 0) -> list[PowerCut]:
    """Right before a step and right after it."""
    return [PowerCut(side, state, before=before, skip=skip) for before in (True, False)]


def outbox(kind: str) -> list[PowerCut]:
    """A transaction's life: not signed, signed, sent and waiting, mined and not written down, written down."""
    sent = PowerCut("outbox", f"{kind}:{SENT}")
    return [*around("outbox", f"{kind}:open"), sent, *around("outbox", f"{kind}:done")]


def log_of(file: Path) -> Path:
    """Where the steps are told, if it exists."""
    return file.with_name("steps.log")


def kind_of(key: str) -> str:
    """The words of an outbox key without its ids: `settle`, `claim:sales`, `model:claim`, `lock`."""
    return ":".join(part for part in key.split(":") if WORD.match(part) and not HEX.match(part))


def arm(file: Path) -> None:
    """Make this process die of the cut that lies in `file`, now or later."""
    _arm_states(file)
    _arm_outbox(file)
    _arm_journal(file)


def _arm_states(file: Path) -> None:
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


def _arm_outbox(file: Path) -> None:
    from contracts.rpc import ChainRpc
    from node.journal.transactions import Attempt, Step, Transactions

    sign, finish, call = Transactions.sign, Transactions.finish, ChainRpc.call
    attempts = Transactions.attempts
    signed: dict[str, str] = {}  # raw transactions that may be sent, with the key of their step

    async def sign_or_die(self: Transactions, step: Step, attempt: Attempt) -> None:
        signed["0x" + attempt.raw.hex()] = step.key
        with _power(file, "outbox", f"{kind_of(step.key)}:{step.state}"):
            await sign(self, step, attempt)

    async def finish_or_die(self: Transactions, key: str, state: Any, now: int, **fields: Any) -> None:
        with _power(file, "outbox", f"{kind_of(key)}:{state}"):
            await finish(self, key, state, now, **fields)

    async def attempts_to_send(self: Transactions, key: str) -> list[Attempt]:
        found = await attempts(self, key)
        signed.update({"0x" + attempt.raw.hex(): key for attempt in found})
        return found

    async def call_or_die(self: ChainRpc, method: str, *params: Any, **limits: Any) -> Any:
        answer = await call(self, method, *params, **limits)
        if method == "eth_sendRawTransaction" and params[0] in signed:
            with _power(file, "outbox", f"{kind_of(signed[params[0]])}:{SENT}"):
                pass
        return answer

    Transactions.sign = sign_or_die  # type: ignore[method-assign]
    Transactions.finish = finish_or_die  # type: ignore[method-assign]
    Transactions.attempts = attempts_to_send  # type: ignore[method-assign]
    ChainRpc.call = call_or_die  # type: ignore[method-assign]


def _arm_journal(file: Path) -> None:
    from node.journal.journal import Journal

    write = Journal.write

    async def write_or_die(self: Journal, fn: Callable[[Any], Any]) -> Any:
        name = fn.__qualname__.partition(".<locals>")[0]
        if name.startswith(OTHERWISE):
            return await write(self, fn)
        with _power(file, "journal", name):
            return await write(self, fn)

    Journal.write = write_or_die  # type: ignore[method-assign]


@contextmanager
def _power(file: Path, side: str, state: str) -> Iterator[None]:
    cut = _next(file, side, state)
    if cut is not None and cut.before:
        _die(file)
    yield
    if cut is not None:
        _die(file)


def _next(file: Path, side: str, state: str) -> PowerCut | None:
    _tell(log_of(file), f"{side} {state}\n")
    try:
        cut = msgspec.json.decode(file.read_bytes(), type=PowerCut)
    except FileNotFoundError:
        return None
    if (cut.side, cut.state) != (side, state):
        return None
    if cut.skip:
        msgspec.structs.replace(cut, skip=cut.skip - 1).lay(file)
        return None
    return cut


def _tell(log: Path, line: str) -> None:
    try:
        told = os.open(log, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:
        return
    try:
        os.write(told, line.encode())
    finally:
        os.close(told)


def _die(file: Path) -> None:
    file.unlink()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    from node.cli.main import main

    arm(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
