"""Catching up: what neighbours know and we do not, domain by domain; and answering those who ask us.

Both sides have a tree of digests over the ids of a domain. The asker compares from the root and goes down only where
the digests differ, then fetches the envelopes of the ids that it misses. Nothing that a neighbour says about his store
has to be believed or remembered, so what was lost, refused at first or arrived out of order is found at the next
comparison, whichever neighbour has it.

Numbered pages (where did we stand in this neighbour's store?) were here before. They cost 32 bytes an id at every first
meeting, 3.2 MB for 100,000 ids of which ten are new; the trees cost 12 kB then, in four round trips, and next to
nothing when both are level. When 10,000 are missing, all that is not items is 1.2 % of the bytes. And what a page had
passed once was never asked for again. Both ends are measured by `python -m tests.bench.catalog`.

Work is bounded: nodes and ids a visit, bytes a reply, seconds a request, neighbours at once. An id is asked of one
neighbour at a time. Who lists what he does not deliver, or breaks the rules of the tree, is not visited for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
import trio

from node.journal.catalog import CatalogStore
from node.market.catalog.catalog import Catalog
from node.market.catalog.comparing import Admit, NoneFit, Reading, Stock, WastesTime
from node.market.ports import Wire
from node.network.errors import NetworkError
from node.network.guard.conduct import FALSE
from protocols.catalog.messages import (
    ITEMS,
    MAX_PAGE_BYTES,
    MAX_REQUEST_BYTES,
    MAX_TREE_REQUEST_BYTES,
    PROTOCOL,
    Items,
    ItemsRequest,
    TreeReply,
    TreeRequest,
)
from protocols.codec import decode, encode
from protocols.errors import ProtocolError
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

MEET_INTERVAL_S = 1.0  # how soon a new peer is asked for what was missed
CATCH_UP_INTERVAL_S = 60.0  # gossip may lose a message; nobody misses one for longer than this
# after the first read of a new connection, then doubling: gossip needs a moment to find its ways
SETTLING_S = 2.0
MOST_DOUBLINGS = 6
CATCH_UP_RETRY_S = 5.0  # two that dial one another at once lose a connection, and what was asked on it
WASTED_REST_S, LONGEST_REST_S = 60.0, 3_600.0  # who wastes our time, doubling; kept when he comes back as the same peer
UNFIT_REST_S = 60.0  # when what he has may not be kept here: no room, or the chain is behind
REMEMBERED = 1_024  # peers who are gone, for what they did
CONCURRENCY = 8
VISITS = 16  # neighbours read at once


class _Visit:
    """How it stands with one neighbour: on which connection, and when which domain is due again."""

    def __init__(self) -> None:
        self.connected = -1
        self.busy = False
        self.fails = 0
        self.rounds = 0
        self.wasted = 0
        self.banned_until = 0.0
        self.due: dict[str, float] = {}
        self.readings: dict[str, Reading] = {}

    def meet(self, connected: int) -> None:
        """He is there, on this connection."""
        if self.connected != connected:
            self.connected, self.due, self.fails, self.rounds = connected, {}, 0, 0

    def domains(self, followed: Sequence[str]) -> list[str]:
        """Those that were never asked for on this connection, or long ago."""
        now = trio.current_time()
        return [] if now < self.banned_until else [one for one in followed if self.due.get(one, now) <= now]

    def put_off(self, domains: Sequence[str], rest_s: float) -> None:
        """Not again for so long."""
        self.due |= dict.fromkeys(domains, trio.current_time() + rest_s)

    def ban(self) -> None:
        """Not at all for a while, longer each time."""
        self.banned_until = trio.current_time() + min(WASTED_REST_S * 2**self.wasted, LONGEST_REST_S)
        self.wasted = min(self.wasted + 1, MOST_DOUBLINGS)


class CatchUp:
    """Reads neighbours' stores and answers from the own one."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        store: CatalogStore,
        wire: Wire,
        domains: Callable[[], Sequence[str]],
        admit: Admit,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._wire = wire
        self._domains = domains
        self._stock = Stock(catalog, wire, admit)
        self._hurry = trio.Event()
        self._visits: dict[PeerId, _Visit] = {}
        self._seats = trio.CapacityLimiter(VISITS)
        self._asked = trio.Event()  # set and renewed at every visit's end

    async def serve(self) -> None:
        """Answer from now on."""
        self._wire.serve(PROTOCOL, self._nodes, max_request_bytes=MAX_TREE_REQUEST_BYTES, concurrency=CONCURRENCY)
        self._wire.serve(ITEMS, self._items, max_request_bytes=MAX_REQUEST_BYTES, concurrency=CONCURRENCY)

    async def run(self) -> None:
        """Ask every neighbour as soon as it is there, again when it has come back, and again every minute.

        Each is asked in a task of its own, so that one which hangs keeps nobody else waiting.
        """
        async with trio.open_nursery() as nursery:
            while True:
                self._hurry = trio.Event()
                neighbours = {neighbour.peer: neighbour.since for neighbour in self._wire.peers()}
                self._visits = _remembered(self._visits, neighbours)
                for peer, connected in neighbours.items():
                    visit = self._visits.setdefault(peer, _Visit())
                    visit.meet(connected)
                    if not visit.busy and (domains := visit.domains(self._domains())):
                        visit.busy = True
                        nursery.start_soon(self._visit, peer, visit, domains)
                with trio.move_on_after(MEET_INTERVAL_S):
                    await self._hurry.wait()

    async def first_read(self, domain: str) -> None:
        """Ask all neighbours for a domain now; returns when each of them was asked."""
        self._hurry.set()
        while any(domain not in self._visits[peer].due for peer in self._visits if self._is_asked(peer)):
            await self._asked.wait()

    def _is_asked(self, peer: PeerId) -> bool:
        there = {neighbour.peer for neighbour in self._wire.peers()}
        return peer in there and trio.current_time() >= self._visits[peer].banned_until

    async def _visit(self, peer: PeerId, visit: _Visit, domains: Sequence[str]) -> None:
        try:
            async with self._seats:
                for domain in domains:
                    visit.put_off([domain], await self._read(peer, visit, domain))
                visit.rounds = min(visit.rounds + 1, MOST_DOUBLINGS)
                visit.fails = visit.wasted = 0
        except WastesTime as err:
            log.info("a neighbour wastes our time", peer=peer, reason=str(err))
            self._wire.blame(peer, FALSE)
            visit.put_off(domains, CATCH_UP_INTERVAL_S)
            visit.ban()
        except (NetworkError, ProtocolError) as err:
            log.debug("catch-up broke off", peer=peer, reason=str(err))
            visit.put_off(domains, min(CATCH_UP_RETRY_S * 2**visit.fails, CATCH_UP_INTERVAL_S))
            visit.fails = min(visit.fails + 1, MOST_DOUBLINGS)
        finally:
            visit.busy = False
            self._asked.set()
            self._asked = trio.Event()

    async def _read(self, peer: PeerId, visit: _Visit, domain: str) -> float:
        """Seconds until the next time."""
        reading = visit.readings.setdefault(domain, Reading(self._stock, peer, domain))
        try:
            again_s = await reading.read()
        except NoneFit:
            return UNFIT_REST_S
        return min(SETTLING_S * float(2**visit.rounds), CATCH_UP_INTERVAL_S, again_s)

    async def _nodes(self, peer: PeerId, body: bytes) -> bytes:
        request = decode(body, TreeRequest, max_bytes=MAX_TREE_REQUEST_BYTES)
        tree = self._catalog.tree(request.domain)
        return encode(TreeReply(nodes=[tree.node(prefix, request.unless) for prefix in request.prefixes]))

    async def _items(self, peer: PeerId, body: bytes) -> bytes:
        request = decode(body, ItemsRequest, max_bytes=MAX_REQUEST_BYTES)
        envelopes, looked_at = await self._store.envelopes([id.hex() for id in request.ids], MAX_PAGE_BYTES)
        return encode(Items(envelopes=envelopes, looked_at=looked_at))


def _remembered(visits: dict[PeerId, _Visit], there: dict[PeerId, int]) -> dict[PeerId, _Visit]:
    """The visits of who is there or on the way, and of the last who wasted our time."""
    now = trio.current_time()
    kept = {peer: visit for peer, visit in visits.items() if peer in there or visit.busy}
    banned = [(peer, visit) for peer, visit in visits.items() if peer not in kept and now < visit.banned_until]
    return kept | dict(banned[-REMEMBERED:])
