"""Items on the network: hear them by topic, tell our own, catch up on what was missed.

    /schwung/<network>/<offers|demands|models|feedback>/<domain>

A node follows the domains it trades in; following another is one call. Gossip reaches whoever is there; peers that were
away read the rest page by page over `/schwung/catalog/1`, as soon as they meet somebody and again every minute.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
import trio

from node.journal.catalog import CatalogStore
from node.market.catalog import Catalog, Listed
from node.market.errors import CatalogFull
from node.market.kinds import KINDS, TOPICS, Body, Context
from node.market.ports import Events, Message, Signer, Wire
from node.network.errors import NetworkError
from protocols.catalog.messages import (
    MAX_PAGE_BYTES,
    MAX_PAGE_ITEMS,
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    PROTOCOL,
    CatalogPage,
    CatalogRequest,
)
from protocols.codec import decode, encode
from protocols.envelope import Item, sign_item
from protocols.errors import ProtocolError
from protocols.ids import PeerId, parse_domain

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

MEET_INTERVAL_S = 1.0  # how soon a new peer is asked for what was missed
CATCH_UP_INTERVAL_S = 60.0  # gossip may lose a message; nobody misses one for longer than this
CATCH_UP_RETRY_S = 5.0  # two that dial one another at once lose a connection, and what was asked on it
SWEEP_INTERVAL_S = 300.0
PAGE_TIMEOUT_S = 15.0
MAX_PAGES_A_ROUND = 200  # bounds what one peer can make us read in one go

Heard = Callable[[Listed[Body]], None]
Guard = Callable[[Listed[Body]], Awaitable[bool]]


class Gossip:
    """Tells and hears items; run `serve` in the node's nursery."""

    def __init__(
        self,
        catalog: Catalog,
        store: CatalogStore,
        wire: Wire,
        signer: Signer,
        context: Context,
        events: Events,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._wire = wire
        self._signer = signer
        self._context = context
        self._events = events
        self._heard: list[Heard] = []
        self._guards: list[Guard] = []
        self._follow_send, self._follow_receive = trio.open_memory_channel[tuple[str, trio.Event]](64)
        self._domains: dict[str, trio.Event] = {}
        self._next: dict[PeerId, int] = {}

    def on_item(self, heard: Heard) -> None:
        """Call `heard` for every item that is new to the catalogue, ours included."""
        self._heard.append(heard)

    def on_border(self, guard: Guard) -> None:
        """Ask `guard` whether an item of another may be kept, when it is valid in itself."""
        self._guards.append(guard)

    async def take(self, raw: bytes) -> None:
        """Admit an item that was refused at the border before, if it may be kept now."""
        await self._admit(raw, None)

    @property
    def domains(self) -> list[str]:
        """The domains this node follows."""
        return sorted(self._domains)

    async def follow(self, domain: str) -> None:
        """Listen to a domain's four topics, now and after every restart. Returns when subscribed."""
        parse_domain(domain)
        ready = self._domains.get(domain)
        if ready is None:
            ready = self._domains[domain] = trio.Event()
            await self._store.follow(domain)
            await self._follow_send.send((domain, ready))
        await ready.wait()

    async def announce(self, kind: str, body: bytes, domain: str) -> Item:
        """Sign an item with the wallet, keep it, tell it. Raises when the wallet is locked or a rule is broken."""
        item = sign_item(
            kind,
            body,
            peer=self._wire.peer_id,
            signer=self._signer.address,
            chain_id=self._context.chain_id,
            sign=self._signer.sign,
        )
        await self.retell(item.raw, KINDS[kind].topic, domain)
        return item

    async def retell(self, raw: bytes, topic: str, domain: str) -> None:
        """Keep and tell a signed item of ours; safe to repeat."""
        await self.follow(domain)
        listed = await self._catalog.admit(raw, self._wire.peer_id)
        await self._wire.publish(self._topic(topic, domain), raw)
        if listed is not None:
            self._tell(listed)

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, answer and catch up until cancelled."""
        self._wire.serve(PROTOCOL, self._answer, max_request_bytes=MAX_REQUEST_BYTES, concurrency=8)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_as_told, nursery)
            for domain in await self._store.followed():
                await self.follow(domain)
            nursery.start_soon(self._catch_up)
            nursery.start_soon(self._sweep)
            task_status.started()

    async def _follow_as_told(self, nursery: trio.Nursery) -> None:
        async for domain, ready in self._follow_receive:
            for topic in TOPICS:
                messages = await self._wire.subscribe(self._topic(topic, domain), self._check)
                nursery.start_soon(self._listen, messages)
            log.info("following", domain=domain)
            ready.set()

    def _topic(self, topic: str, domain: str) -> str:
        return f"/schwung/{self._context.network}/{topic}/{domain}"

    def _check(self, author: PeerId, data: bytes) -> bool:
        try:
            self._catalog.examine(data, author)
        except ProtocolError as err:
            log.debug("item refused", peer=author, kind=err.kind, reason=str(err))
            return False
        return True

    async def _listen(self, messages: AsyncIterable[Message]) -> None:
        async for message in messages:
            await self._admit(message.data, message.peer)

    async def _admit(self, raw: bytes, author: PeerId | None) -> None:
        try:
            found = self._catalog.examine(raw, author)
            if not all([await guard(found) for guard in self._guards]):
                return
            listed = await self._catalog.admit(raw, author)
        except (ProtocolError, CatalogFull) as err:
            log.debug("item not kept", peer=author, kind=err.kind, reason=str(err))
            return
        if listed is not None:
            self._tell(listed)

    def _tell(self, listed: Listed[Body]) -> None:
        item = listed.item
        self._events.publish("catalog", {"kind": item.kind, "id": item.id, "signer": item.signer, "peer": item.peer})
        for heard in self._heard:
            heard(listed)

    async def _answer(self, peer: PeerId, body: bytes) -> bytes:
        request = decode(body, CatalogRequest, max_bytes=MAX_REQUEST_BYTES)
        envelopes, following = await self._catalog.page(request.after, MAX_PAGE_ITEMS, MAX_PAGE_BYTES)
        return encode(CatalogPage(envelopes=envelopes, next=following))

    async def _catch_up(self) -> None:
        asked: dict[PeerId, tuple[int, float]] = {}  # on which connection, and when again
        while True:
            now = trio.current_time()
            for neighbour in self._wire.peers():
                since, due = asked.get(neighbour.peer, (-1, now))
                # who has come back may have told something before anybody could hear it
                if since != neighbour.since or now >= due:
                    whole = await self._read_pages(neighbour.peer)
                    wait_s = CATCH_UP_INTERVAL_S if whole else CATCH_UP_RETRY_S
                    asked[neighbour.peer] = (neighbour.since, now + wait_s)
            await trio.sleep(MEET_INTERVAL_S)

    async def _read_pages(self, peer: PeerId) -> bool:
        """Read on from where we stood; False when it broke off."""
        for _ in range(MAX_PAGES_A_ROUND):
            after = self._next.get(peer, 0)
            try:
                reply = await self._wire.request(
                    peer,
                    PROTOCOL,
                    encode(CatalogRequest(after=after)),
                    timeout_s=PAGE_TIMEOUT_S,
                    max_reply_bytes=MAX_REPLY_BYTES,
                )
                page = decode(reply, CatalogPage, max_bytes=MAX_REPLY_BYTES)
            except (NetworkError, ProtocolError) as err:
                log.debug("catch-up broke off", peer=peer, reason=str(err))
                return False
            for raw in page.envelopes:
                await self._admit(raw, None)
            if not page.envelopes or page.next <= after:
                return True
            self._next[peer] = page.next
        return True

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_INTERVAL_S)
            await self._catalog.sweep()
