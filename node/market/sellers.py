"""What the chain has counted of sellers, at hand: a listing never waits for the chain.

Facts are read in the background and kept for a while; whoever asks for a stranger's gets nothing the first time. They
weigh modestly: a lost dispute is a proved fault and costs a tenth of a score each; sales lift nobody, for they can be
bought from oneself at the price of their fees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog
import trio

from contracts.bindings.reputation import Facts
from contracts.errors import ChainError

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

MOST = 1_024  # sellers remembered; the ones read longest ago go
FRESH_S = 300  # a fault is proved in minutes, not in seconds
WAIT_S = 1.0  # for one seller whom somebody looks at
REST_S = 5.0  # after an endpoint failed
LOST_FACTOR, LOST_MOST = 0.9, 10


class Reputation(Protocol):
    """The contract as it is read here."""

    async def facts(self, who: str) -> Facts: ...


class Record(msgspec.Struct, frozen=True):
    """What is known of a seller, and when it was read (UTC seconds)."""

    facts: Facts
    read_at: int


class Sellers:
    """A cache of facts; run `serve` in the node's nursery."""

    def __init__(self, reputation: Reputation, clock: Callable[[], int]) -> None:
        self._reputation = reputation
        self._clock = clock
        self._known: dict[str, Record] = {}
        self._send, self._wanted = trio.open_memory_channel[str](MOST)
        self._asked: set[str] = set()

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read what is asked for, one after the other, until cancelled."""
        task_status.started()
        async for seller in self._wanted:
            self._asked.discard(seller)
            try:
                await self._read(seller)
            except ChainError as err:
                log.debug("a seller's record cannot be read", reason=str(err))
                await trio.sleep(REST_S)

    def known(self, seller: str) -> Facts | None:
        """What is at hand; what is missing or old is read in the background."""
        record = self._known.get(seller)
        if record is None or self._clock() - record.read_at > FRESH_S:
            self._want(seller)
        return record.facts if record else None

    async def look(self, seller: str) -> Facts | None:
        """What is at hand, or what the chain says within a second."""
        if (facts := self.known(seller)) is not None:
            return facts
        with trio.move_on_after(WAIT_S):
            try:
                return (await self._read(seller)).facts
            except ChainError:
                return None
        return None

    def weight(self, seller: str) -> float:
        """What a score of this seller's goods is multiplied with: 1 for one who lost no dispute, as far as known."""
        facts = self.known(seller)
        return LOST_FACTOR ** min(LOST_MOST, facts.disputes_lost) if facts else 1.0

    def _want(self, seller: str) -> None:
        if seller in self._asked:
            return
        try:
            self._send.send_nowait(seller)
        except trio.WouldBlock:  # asked for again by the next listing
            return
        self._asked.add(seller)

    async def _read(self, seller: str) -> Record:
        record = Record(await self._reputation.facts(seller), self._clock())
        self._known.pop(seller, None)
        self._known[seller] = record
        if len(self._known) > MOST:
            self._known.pop(next(iter(self._known)))
        return record
