"""The network of one node as one async context manager; everything else in this package hangs below it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import structlog
import trio
from libp2p.custom_types import TProtocol
from libp2p.tools.anyio_service import background_trio_service
from msgspec.structs import replace

from node.network.addresses import dialable, parse_listen, parse_peer_address
from node.network.dht.dht import Dht
from node.network.dht.rendezvous import Rendezvous
from node.network.dialing import Keeper
from node.network.errors import (
    Foreigner,
    ListenFailed,
    PeerRefused,
    PeerUnreachable,
    PeerVanished,
    RequestTooLarge,
)
from node.network.gossip.gossip import BUFFER, Check, Gossip, Message, make_gossip
from node.network.guard.conduct import Ban, BanMemory, Fault, NoBans
from node.network.guard.guard import Guard
from node.network.host import check_port, make_host
from node.network.links import Links, Watcher
from node.network.meeting import Meeting
from node.network.options import NetworkOptions
from node.network.outside.outside import Outside, Standing
from node.network.outside.reachability import DIAL_BACK, MAX_BYTES
from node.network.peers import (
    HELLO,
    INTRODUCE,
    MAX_HELLO_BYTES,
    MAX_INTRODUCE_BYTES,
    NoMemory,
    OnEvent,
    Peer,
    PeerBook,
    PeerMemory,
)
from node.network.serving import (
    PER_PEER,
    REQUEST_BURST,
    REQUESTS_PER_S,
    STRANGER,
    Admit,
    RequestHandler,
    Slots,
    StreamHandler,
    answerer,
    talker,
)
from node.network.streams import MAX_REFUSAL_BYTES, Dialogue, deadline, open_reply
from node.network.substrate.substrate import shielded
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

REACH_S = 20.0
CLOSE_S = 5.0
MAX_REQUEST_BYTES = 16 << 20


class Network:
    """Peers, requests, dialogues and gossip. Made by `open_network`."""

    def __init__(
        self, host: Any, options: NetworkOptions, gossip: Gossip, memory: PeerMemory, on_event: OnEvent, guard: Guard
    ) -> None:
        self.host = host  # for node.network.bitswap; nobody outside this package touches it
        self.options = options
        self.gossip = gossip
        self.peer_id = PeerId(str(host.get_id()))
        self._guard = guard
        self._links = Links(host, guard.conduct.blame)
        self._book = PeerBook(on_event)
        self._meeting = Meeting(self._links, self._book, memory, options, lambda: self.addresses, gossip.listens, guard)
        self.dht = Dht(
            host,
            self.peer_id,
            options,
            book=self._book,
            links=self._links,
            ensure=self._meeting.ensure,
            own_addresses=lambda: self.addresses,
            blame=guard.conduct.blame,
            wanted=lambda peer: bool(self._keeper.known(peer)),
        )
        self._rendezvous = Rendezvous(self.dht, gossip.topics)
        self._keeper = Keeper(
            self.peer_id,
            self._book,
            memory,
            self._meeting,
            self._links,
            gossip,
            self._rendezvous,
            target=options.target_peers,
            most=options.max_connections * 3 // 4,  # the rest is for those who dial us
        )
        self._outside = Outside(
            host,
            self.peer_id,
            options,
            self._links,
            self._book,
            meet=self._meeting.reach,
            tell=self._meeting.tell,
            ask=self.request,
            own=lambda: tuple(own for address in host.get_addrs() for own in dialable(str(address))),
        )
        self._closing = False
        host.get_network().register_notifee(Watcher(guard.came, self._gone))

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where we can be dialled, real ports filled in, ending in /p2p/<our id>."""
        return self._outside.addresses

    @property
    def standing(self) -> Standing:
        """Whether and how others reach us."""
        return self._outside.standing

    def relays(self, peer: PeerId) -> tuple[PeerId, ...]:
        """The relays that carry our connection to a peer; none when it is direct."""
        return self._links.relays(peer)

    def peers(self) -> list[Peer]:
        """The connected peers of our network."""
        return [replace(peer, score=self._guard.conduct.score(peer.peer)) for peer in self._book.all()]

    # -- conduct

    def blame(self, peer: PeerId, fault: Fault, times: float = 1.0) -> None:
        """Hold a fault of `node.network.guard.conduct` against a peer; too many, and it is banned for a while."""
        self._guard.conduct.blame(peer, fault, times)

    def banned(self) -> list[Ban]:
        """The peers that are refused now, the latest at the end."""
        return self._guard.conduct.bans()

    async def pardon(self, peer: PeerId) -> bool:
        """Lift a ban; whether there was one."""
        return await self._guard.conduct.pardon(peer)

    # -- connections

    async def connect(self, address: str) -> PeerId:
        """Dial `/ip4/…/tcp/…/p2p/ID`, say hello, and stay connected from now on.

        Raises BadAddress, PeerUnreachable, Foreigner.
        """
        peer, _ = parse_peer_address(address)
        if peer == self.peer_id:
            raise PeerUnreachable("that is our own address")
        if await self.pardon(peer):  # the operator's word counts more than what it did
            log.info("ban lifted", peer=peer)
        await self._meeting.reach(peer, (address,))
        self._keeper.want(peer, (address,))
        return peer

    async def disconnect(self, peer: PeerId) -> None:
        """Close the connections to a peer and do not redial it."""
        self._keeper.drop(peer)
        await self._links.hang_up(peer)

    async def reach(self, peer: PeerId) -> None:
        """Be connected to a peer, one of ours or not; its address is looked up when we know only its name.

        Raises PeerUnreachable, DeadlineExceeded, Foreigner.
        """
        if not self._links.connected(peer):
            with deadline(REACH_S, f"{peer} was not reached"):
                await self._reach(peer)

    def foreign(self, peer: PeerId) -> bool:
        """Whether a peer is connected that has said no hello: an IPFS peer, which knows none of our protocols."""
        return self._links.connected(peer) and peer not in self._book

    async def ping(self, peer: PeerId, *, timeout_s: float = 5.0) -> float:
        """Round trip in seconds; who is not connected is dialled first. Raises DeadlineExceeded, PeerUnreachable."""
        await self.reach(peer)
        with deadline(timeout_s, f"no answer to a ping from {peer}"):
            return await self._links.ping(peer)

    # -- requests and dialogues

    async def request(
        self, peer: PeerId, protocol: str, body: bytes, *, timeout_s: float, max_reply_bytes: int,
        repeatable: bool = False,
    ) -> bytes:  # fmt: skip
        """One request, one reply. Tried a second time only when the first cannot have been processed, or when it is
        `repeatable`: then it may be processed twice, and mostly takes one round trip in place of three.

        Raises PeerUnreachable (not processed), PeerVanished and DeadlineExceeded (perhaps processed), PeerRefused with
        the peer's reason, ReplyTooLarge, RequestTooLarge.
        """
        if len(body) > MAX_REQUEST_BYTES:
            raise RequestTooLarge(f"{len(body)} bytes to {protocol}, the limit is {MAX_REQUEST_BYTES}")
        with deadline(timeout_s, f"no reply from {peer} to {protocol}"):
            try:
                return await self._ask(peer, protocol, body, max_reply_bytes, repeatable)
            except PeerVanished:
                if not repeatable:
                    raise
                return await self._ask(peer, protocol, body, max_reply_bytes)
            except PeerUnreachable:
                return await self._ask(peer, protocol, body, max_reply_bytes)
            except PeerRefused as err:
                if err.reason != STRANGER:
                    raise
                self._book.remove(peer)  # it lost sight of us between two connections: greet it anew
                return await self._ask(peer, protocol, body, max_reply_bytes)

    def serve(
        self,
        protocol: str,
        handler: RequestHandler,
        *,
        max_request_bytes: int,
        concurrency: int = 8,
        per_peer: int = PER_PEER,
        rate: float = REQUESTS_PER_S,
        burst: float = REQUEST_BURST,
    ) -> None:
        """Answer requests: `handler(peer, body) -> reply`. It may raise `Refuse` or a ProtocolError to say no.

        At most `concurrency` at a time and `per_peer` of one peer, which may send `burst` at once and then `rate` a
        second.
        """
        slots = Slots(concurrency, per_peer, rate=rate, burst=burst)
        self._serve(protocol, handler, self._book.__contains__, max_request_bytes, slots)

    def serve_stream(
        self, protocol: str, handler: StreamHandler, *, concurrency: int = 8, per_peer: int = PER_PEER
    ) -> None:
        """Hold dialogues: `handler(peer, dialogue)`; the stream is closed when it returns, reset when it raises."""
        slots = Slots(concurrency, per_peer)
        served = talker(protocol, handler, admit=self._book.__contains__, slots=slots, conduct=self._guard.conduct)
        self.host.set_stream_handler(TProtocol(protocol), served)

    @asynccontextmanager
    async def open_stream(self, peer: PeerId, protocol: str, *, timeout_s: float = 10.0) -> AsyncIterator[Dialogue]:
        """A dialogue with a peer, closed at the end and reset on an exception.

        Raises PeerUnreachable, PeerRefused, DeadlineExceeded; `timeout_s` is for opening only.
        """
        with deadline(timeout_s, f"{peer} did not open {protocol}"):
            await self._ensure(peer)
            dialogue = await self._links.open(peer, protocol)
            try:
                open_reply(peer, await dialogue.receive(max_bytes=MAX_REFUSAL_BYTES, timeout_s=timeout_s))
            except BaseException:
                await dialogue.reset()
                raise
        try:
            yield dialogue
        except BaseException:
            await dialogue.reset()
            raise
        await dialogue.close()

    # -- gossip

    async def publish(self, topic: str, data: bytes) -> int:
        """See `Gossip.publish`."""
        return await self.gossip.publish(topic, data)

    async def subscribe(self, topic: str, check: Check, *, buffer: int = BUFFER) -> trio.MemoryReceiveChannel[Message]:
        """See `Gossip.subscribe`; listeners to the topic are looked for, and come later."""
        messages = await self.gossip.subscribe(topic, check, buffer)
        self._rendezvous.stir()
        self._keeper.look_around()
        return messages

    async def unsubscribe(self, topic: str) -> None:
        """See `Gossip.unsubscribe`."""
        await self.gossip.unsubscribe(topic)

    # -- inside

    async def run(self, nursery: trio.Nursery) -> None:
        """Start what runs beside the callers; called by `open_network`."""

        async def on_hello(peer: PeerId, body: bytes) -> bytes:
            return await self._meeting.on_hello(peer, body, nursery)

        seldom = Slots(16, 2, rate=1.0, burst=60.0), Slots(16, 2, rate=2.0, burst=120.0)
        self._serve(HELLO, on_hello, lambda _peer: True, MAX_HELLO_BYTES, seldom[0])
        self._serve(INTRODUCE, self._meeting.on_introduce, self._book.__contains__, MAX_INTRODUCE_BYTES, seldom[1])
        await self._guard.conduct.load()
        nursery.start_soon(self._guard.run, self._links, self._book)
        for address in self.options.bootstrap:
            peer, _ = parse_peer_address(address)
            self._keeper.want(peer, (*self._keeper.known(peer), address))
        nursery.start_soon(self._keeper.run)
        nursery.start_soon(self._keeper.feel_pulse)
        nursery.start_soon(self.dht.run)
        if self.options.target_peers:
            nursery.start_soon(self._rendezvous.run)
        reachability = self._outside.reachability
        self.serve(DIAL_BACK, reachability.answer, max_request_bytes=MAX_BYTES, concurrency=4, per_peer=1)
        await self._outside.run(nursery)

    async def close(self) -> None:
        """Close every connection before the host stops: leaving it alone leaks sockets on both sides."""
        self._closing = True
        with shielded(CLOSE_S):
            await self._links.hang_up_all()
            await self.host.close()

    def _serve(self, protocol: str, handler: RequestHandler, admit: Admit, most: int, slots: Slots) -> None:
        served = answerer(
            protocol, handler, admit=admit, max_request_bytes=most, slots=slots, conduct=self._guard.conduct
        )
        self.host.set_stream_handler(TProtocol(protocol), served)

    async def _ensure(self, peer: PeerId) -> None:
        known = self._keeper.known(peer)
        if not known and (heard := self.dht.known(peer)) and peer not in self._book:
            with suppress(PeerUnreachable):  # hearsay: others may know better
                await self._meeting.ensure(peer, heard)
                return
        await self._meeting.ensure(peer, known)

    async def _reach(self, peer: PeerId) -> None:
        try:
            await self._ensure(peer)
        except Foreigner as err:
            if err.reason != "unknown_protocol":
                raise
            await self._links.dial(peer, self.dht.known(peer))  # it knows no hello: an IPFS peer

    async def _ask(
        self, peer: PeerId, protocol: str, body: bytes, max_reply_bytes: int, repeatable: bool = False
    ) -> bytes:
        await self._ensure(peer)
        return await self._links.exchange(peer, protocol, body, max_reply_bytes, repeatable=repeatable)

    def _gone(self, peer: PeerId) -> None:
        self._outside.gone(peer)
        if not self._links.connected(peer):
            self._book.remove(peer)
            self.dht.gone(peer)
            if not self._closing:
                self._keeper.lost(peer)
        elif not self._closing:
            self.gossip.rejoin(peer)


@asynccontextmanager
async def open_network(
    options: NetworkOptions,
    identity_key: bytes,
    *,
    memory: PeerMemory | None = None,
    bans: BanMemory | None = None,
    on_event: OnEvent | None = None,
) -> AsyncIterator[Network]:
    """Listen, join, and yield when ready. `identity_key` is a 32-byte Ed25519 seed.

    `on_event` hears `peer.connected {peer, address, inbound}`, `peer.disconnected {peer}` and
    `peer.banned {peer, reason, ends_at, times}`; it must not block.
    A crash inside ends the caller's block with its own traceback. Raises ListenFailed, BadAddress.
    """
    listen = [parse_listen(text) for text in options.listen]
    for address in listen:
        check_port(address)
    guard = Guard(bans or NoBans(), options, on_event or _nobody)
    host = make_host(options, identity_key, guard.conduct, guard.turnstile)
    router, mesh = make_gossip(host, guard.conduct)
    network = Network(host, options, Gossip(router), memory or NoMemory(), on_event or _nobody, guard)
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(host.run(listen))
            if len(host.get_network().listeners) < len(listen):
                raise ListenFailed(f"cannot listen on all of {', '.join(options.listen)}")
            await stack.enter_async_context(background_trio_service(router))
            await stack.enter_async_context(background_trio_service(mesh))
            await router.wait_until_ready()
            nursery = await stack.enter_async_context(trio.open_nursery())
            await network.run(nursery)
            log.info("network ready", peer=network.peer_id, addresses=network.addresses)
            try:
                yield network
            finally:
                nursery.cancel_scope.cancel()  # first of all the dialling: what connects after the close stays open
                await network.close()
    except BaseExceptionGroup as group:
        left = group if not network._closing else group.split(_shutdown_noise)[1]
        if left is not None:
            raise _only(left) from None


def _nobody(_topic: str, _data: dict[str, object]) -> None:
    return None


def _shutdown_noise(err: BaseException) -> bool:
    """Pubsub starts a task for a message that arrives while its nursery closes; harmless then, and only then."""
    return isinstance(err, RuntimeError) and "Nursery is closed" in str(err)


def _only(group: BaseExceptionGroup[Any]) -> BaseException:
    """A group of one is its one exception, so that callers catch what was raised."""
    err: BaseException = group
    while isinstance(err, BaseExceptionGroup) and len(err.exceptions) == 1:
        err = err.exceptions[0]
    return err
