"""Items on the network: hear them by topic, tell our own, catch up on what was missed.

    /schwung/<network>/<offers|demands|models|feedback>/<domain>

A node follows the domains it trades in; following another is one call. Gossip reaches whoever is there; what was told
while nobody listened is read from neighbours (`catching`). What is told is paced, so that nothing of a burst is lost on
the way; an author who tells faster than that is refused at the first hop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from node.journal.catalog import CatalogStore
from node.market.catalog.catalog import Catalog, Listed
from node.market.catalog.catching import CatchUp
from node.market.kinds import KINDS, TOPICS, Body, Context
from node.market.pace import Authors, Bucket
from node.market.ports import Events, Messages, Signer, Wire
from protocols.envelope import Item, sign_item
from protocols.errors import Malformed, ProtocolError, RuleBroken
from protocols.ids import PeerId, parse_domain

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

SWEEP_INTERVAL_S = 300.0
FIRST_READ_S = 3.0  # a person waits
AT_ONCE = 64  # items heard together are kept in one write
# libp2p's queues hold some hundred messages a peer; a burst beyond that would be dropped without a word.
TELL_RATE, TELL_BURST = 50.0, 20.0  # items a second, items at once
HEAR_RATE, HEAR_BURST = 100.0, 1_000.0  # of one author; who paces himself as we do never meets it

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
        self._pace = Bucket(TELL_RATE, TELL_BURST)
        self._authors = Authors(HEAR_RATE, HEAR_BURST)
        catalog.never_evict(wire.peer_id)
        self._catching = CatchUp(
            catalog=catalog,
            store=store,
            wire=wire,
            domains=lambda: self.domains,
            admit=self._admit_relayed,
        )

    def on_item(self, heard: Heard) -> None:
        """Call `heard` for every item that is new to the catalogue, ours included."""
        self._heard.append(heard)

    def on_border(self, guard: Guard) -> None:
        """Ask `guard` whether an item of another may be kept, when it is valid in itself."""
        self._guards.append(guard)

    async def take(self, raw: bytes) -> None:
        """Admit an item that was refused at the border before, if it may be kept now."""
        await self._admit([(raw, None)])

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

    async def look_into(self, domain: str) -> None:
        """Follow a domain that somebody asks about; of a new one, wait a moment for what neighbours know."""
        is_new = domain not in self._domains
        await self.follow(domain)
        if is_new:
            with trio.move_on_after(FIRST_READ_S):
                await self._catching.first_read(domain)

    async def announce(self, kind: str, body: bytes, domain: str) -> Item:
        """Sign an item with the wallet, keep it, tell it. Raises when the wallet is locked or a rule is broken."""
        item = self.signed(kind, body)
        await self.retell(item.raw, KINDS[kind].topic, domain)
        return item

    def signed(self, kind: str, body: bytes) -> Item:
        """An item of ours, checked and not told yet. Raises when the wallet is locked or a rule is broken."""
        item = sign_item(
            kind,
            body,
            peer=self._wire.peer_id,
            signer=self._signer.address,
            chain_id=self._context.chain_id,
            sign=self._signer.sign,
        )
        self._catalog.examine(item.raw, self._wire.peer_id)
        return item

    async def retell(self, raw: bytes, topic: str, domain: str) -> None:
        """Keep and tell a signed item of ours; safe to repeat."""
        await self.follow(domain)
        listed = await self._catalog.admit(raw, self._wire.peer_id)
        await self._pace.wait()
        await self._wire.publish(self._topic(topic, domain), raw)
        if listed is not None:
            self._tell(listed)

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, answer and catch up until cancelled."""
        await self._catching.serve()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_as_told, nursery)
            for domain in await self._store.followed():
                await self.follow(domain)
            nursery.start_soon(self._catching.run)
            nursery.start_soon(self._sweep)
            task_status.started()

    async def _follow_as_told(self, nursery: trio.Nursery) -> None:
        async for domain, ready in self._follow_receive:
            for topic in TOPICS:
                check = partial(self._check, topic, domain)
                messages = await self._wire.subscribe(self._topic(topic, domain), check)
                nursery.start_soon(self._listen, messages)
            log.info("following", domain=domain)
            ready.set()

    def _topic(self, topic: str, domain: str) -> str:
        return f"/schwung/{self._context.network}/{topic}/{domain}"

    def _check(self, topic: str, domain: str, author: PeerId, data: bytes) -> bool:
        """Whether what an author tells on a topic may go on; cheap checks first.

        Raises ProtocolError for what no honest node hands on. A rule may be broken by the time alone, or by a newer
        version of ours: then it ends here, and nobody is to blame.
        """
        if author != self._wire.peer_id and not self._authors.take(author):
            log.debug("an author tells too fast", peer=author)
            return False
        try:
            listed = self._catalog.examine(data, author)
        except RuleBroken as err:
            log.debug("item refused", peer=author, kind=err.kind, reason=str(err))
            return False
        if (KINDS[listed.item.kind].topic, listed.body.domain) != (topic, domain):
            raise Malformed(f"an item of {listed.body.domain} is told on {topic} of {domain}")
        return True

    async def _listen(self, messages: Messages) -> None:
        while True:
            try:
                message = await messages.receive()
                batch = [(message.data, message.peer)]
                while len(batch) < AT_ONCE:
                    message = messages.receive_nowait()
                    batch.append((message.data, message.peer))
            except trio.WouldBlock:
                pass
            except trio.EndOfChannel:
                return
            await self._admit(batch)

    async def _admit(self, heard: Sequence[tuple[bytes, PeerId | None]]) -> None:
        """Keep what is valid, new and let in by the guards; tell of it."""
        valid: list[Listed[Body]] = []
        for raw, author in heard:
            await trio.lowlevel.checkpoint()  # a signature takes a tenth of a millisecond, a page has hundreds
            try:
                valid.append(self._catalog.examine(raw, author))
            except ProtocolError as err:
                log.debug("item not kept", peer=author, kind=err.kind, reason=str(err))
        await self._let_in(valid)

    async def _admit_relayed(self, raws: Sequence[bytes], domain: str) -> None:
        """The same of a domain's envelopes that a neighbour hands on."""
        valid = await self._catalog.examine_relayed(raws)
        await self._let_in([found for found in valid if found.body.domain == domain])

    async def _let_in(self, valid: Sequence[Listed[Body]]) -> None:
        fresh: list[Listed[Body]] = []
        for found in valid:
            if self._catalog.knows(found.item.id):
                continue
            if all([await guard(found) for guard in self._guards]):
                fresh.append(found)
            else:
                self._catalog.put_off(found.item.id)
        for listed in await self._catalog.keep(fresh):
            self._tell(listed)

    def _tell(self, listed: Listed[Body]) -> None:
        item = listed.item
        self._events.publish("catalog", {"kind": item.kind, "id": item.id, "signer": item.signer, "peer": item.peer})
        for heard in self._heard:
            heard(listed)

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_INTERVAL_S)
            await self._catalog.sweep()
