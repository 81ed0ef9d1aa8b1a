"""Catching up: what neighbours heard while we were away, domain by domain; and answering those who ask us.

Ids first, then the envelopes of those that are not known yet, page by page; where we stood with a neighbour's store is
journalled, so a restart goes on there. Work is bounded on both sides: pages a round, bytes a page, seconds a request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog
import trio

from node.journal.catalog import CatalogStore
from node.market.catalog import Catalog
from node.market.ports import Wire
from node.network.errors import NetworkError
from protocols.catalog.messages import (
    ITEMS,
    MAX_INDEX_BYTES,
    MAX_ITEMS,
    MAX_PAGE_BYTES,
    MAX_PAGE_IDS,
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    PROTOCOL,
    CatalogIndex,
    CatalogRequest,
    Items,
    ItemsRequest,
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
TIMEOUT_S = 15.0
MAX_PAGES_A_ROUND = 200  # bounds what one peer can make us read in one go: 204,800 ids
CONCURRENCY = 8
VISITS = 16  # neighbours read at once

Admit = Callable[[Sequence[tuple[bytes, PeerId | None]]], Awaitable[None]]


class _Visit:
    """How it stands with one neighbour: on which connection, and when which domain is due again."""

    def __init__(self) -> None:
        self.connected = -1
        self.busy = False
        self.fails = 0
        self.rounds = 0
        self.due: dict[str, float] = {}

    def domains(self, followed: Sequence[str]) -> list[str]:
        """Those that were never asked for on this connection, or long ago."""
        now = trio.current_time()
        return [domain for domain in followed if self.due.get(domain, now) <= now]

    def put_off(self, domains: Sequence[str], rest_s: float) -> None:
        """Not again for so long."""
        self.due |= dict.fromkeys(domains, trio.current_time() + rest_s)


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
        clock: Callable[[], int],
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._wire = wire
        self._domains = domains
        self._admit = admit
        self._clock = clock
        self._epoch = b""
        self._hurry = trio.Event()
        self._visits: dict[PeerId, _Visit] = {}
        self._seats = trio.CapacityLimiter(VISITS)
        self._asked = trio.Event()  # set and renewed at every visit's end

    async def serve(self) -> None:
        """Answer from now on."""
        self._epoch = await self._store.epoch()
        bounds = {"max_request_bytes": MAX_REQUEST_BYTES, "concurrency": CONCURRENCY}
        self._wire.serve(PROTOCOL, self._index, **bounds)
        self._wire.serve(ITEMS, self._items, **bounds)

    async def run(self) -> None:
        """Ask every neighbour as soon as it is there, again when it has come back, and again every minute.

        Each is asked in a task of its own, so that one which hangs keeps nobody else waiting.
        """
        async with trio.open_nursery() as nursery:
            while True:
                self._hurry = trio.Event()
                neighbours = {neighbour.peer: neighbour.since for neighbour in self._wire.peers()}
                self._visits = {peer: visit for peer, visit in self._visits.items() if peer in neighbours or visit.busy}
                for peer, connected in neighbours.items():
                    visit = self._visits.setdefault(peer, _Visit())
                    if visit.connected != connected:
                        visit.connected, visit.due, visit.fails, visit.rounds = connected, {}, 0, 0
                    if not visit.busy and (domains := visit.domains(self._domains())):
                        visit.busy = True
                        nursery.start_soon(self._visit, peer, visit, domains)
                with trio.move_on_after(MEET_INTERVAL_S):
                    await self._hurry.wait()

    async def first_read(self, domain: str) -> None:
        """Ask all neighbours for a domain now; returns when each of them was asked."""
        self._hurry.set()
        while any(domain not in visit.due for visit in self._visits.values()):
            await self._asked.wait()

    async def _visit(self, peer: PeerId, visit: _Visit, domains: Sequence[str]) -> None:
        try:
            async with self._seats:
                for domain in domains:
                    if not await self._read(peer, domain):
                        visit.put_off(domains, min(CATCH_UP_RETRY_S * 2**visit.fails, CATCH_UP_INTERVAL_S))
                        visit.fails = min(visit.fails + 1, MOST_DOUBLINGS)
                        return
                    visit.put_off([domain], min(SETTLING_S * 2**visit.rounds, CATCH_UP_INTERVAL_S))
                visit.rounds = min(visit.rounds + 1, MOST_DOUBLINGS)
                visit.fails = 0
        finally:
            visit.busy = False
            self._asked.set()
            self._asked = trio.Event()

    async def _read(self, peer: PeerId, domain: str) -> bool:
        """Read on from where we stood; False when it broke off."""
        epoch, after = await self._store.cursor(peer, domain)
        try:
            for _ in range(MAX_PAGES_A_ROUND):
                index = await self._page(peer, domain, epoch, after)
                if index.epoch != epoch:  # another store, from its beginning
                    epoch, after = index.epoch, 0
                if not index.ids or index.next <= after:
                    return True
                await self._fetch(peer, [id.hex() for id in index.ids])
                after = index.next
                await self._store.read_up_to(peer, domain, epoch, after, self._clock())
        except (NetworkError, ProtocolError) as err:
            log.debug("catch-up broke off", peer=peer, domain=domain, reason=str(err))
            return False
        return True

    async def _page(self, peer: PeerId, domain: str, epoch: bytes, after: int) -> CatalogIndex:
        request = encode(CatalogRequest(domain=domain, epoch=epoch, after=after))
        raw = await self._wire.request(peer, PROTOCOL, request, timeout_s=TIMEOUT_S, max_reply_bytes=MAX_INDEX_BYTES)
        return decode(raw, CatalogIndex, max_bytes=MAX_INDEX_BYTES)

    async def _fetch(self, peer: PeerId, ids: Sequence[str]) -> None:
        """The envelopes of unknown ids."""
        missing = [id for id in ids if not self._catalog.knows(id)]
        while missing:
            request = encode(ItemsRequest(ids=[bytes.fromhex(id) for id in missing[:MAX_ITEMS]]))
            raw = await self._wire.request(peer, ITEMS, request, timeout_s=TIMEOUT_S, max_reply_bytes=MAX_REPLY_BYTES)
            reply = decode(raw, Items, max_bytes=MAX_REPLY_BYTES)
            await self._admit([(envelope, None) for envelope in reply.envelopes])
            missing = missing[reply.looked_at :]

    async def _index(self, peer: PeerId, body: bytes) -> bytes:
        request = decode(body, CatalogRequest, max_bytes=MAX_REQUEST_BYTES)
        after = request.after if request.epoch == self._epoch else 0
        ids, following = await self._store.index(request.domain, after, MAX_PAGE_IDS)
        return encode(CatalogIndex(epoch=self._epoch, ids=[bytes.fromhex(id) for id in ids], next=following))

    async def _items(self, peer: PeerId, body: bytes) -> bytes:
        request = decode(body, ItemsRequest, max_bytes=MAX_REQUEST_BYTES)
        envelopes, looked_at = await self._store.envelopes([id.hex() for id in request.ids], MAX_PAGE_BYTES)
        return encode(Items(envelopes=envelopes, looked_at=looked_at))
