"""The network of one node as one async context manager; everything else in this package hangs below it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import structlog
import trio
from libp2p.custom_types import TProtocol
from libp2p.tools.anyio_service import background_trio_service

from node.network.addresses import dialable, parse_listen, parse_peer_address
from node.network.dht import Dht
from node.network.dialing import Keeper
from node.network.errors import (
    Foreigner,
    ListenFailed,
    PeerRefused,
    PeerUnreachable,
    PeerVanished,
    RequestTooLarge,
)
from node.network.gossip import BUFFER, Check, Gossip, Message, make_gossip
from node.network.host import check_port, make_host
from node.network.links import Links, Watcher
from node.network.meeting import Meeting
from node.network.options import NetworkOptions
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
    STRANGER,
    Admit,
    RequestHandler,
    Slots,
    StreamHandler,
    answerer,
    talker,
)
from node.network.streams import MAX_REFUSAL_BYTES, Dialogue, deadline, open_reply
from node.network.substrate import shielded
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

REACH_S = 20.0
CLOSE_S = 5.0
MAX_REQUEST_BYTES = 16 << 20


class Network:
    """Peers, requests, dialogues and gossip. Made by `open_network`."""

    def __init__(
        self, host: Any, options: NetworkOptions, gossip: Gossip, memory: PeerMemory, on_event: OnEvent
    ) -> None:
        self.host = host  # for node.network.bitswap; nobody outside this package touches it
        self.options = options
        self.gossip = gossip
        self.peer_id = PeerId(str(host.get_id()))
        self._links = Links(host)
        self._book = PeerBook(on_event)
        self._meeting = Meeting(self._links, self._book, memory, options, lambda: self.addresses, gossip.listens)
        self._keeper = Keeper(
            self.peer_id,
            self._book,
            memory,
            self._meeting,
            self._links,
            gossip,
            target=options.target_peers,
            most=options.max_connections * 3 // 4,  # the rest is for those who dial us
        )
        self.dht = Dht(
            host,
            self.peer_id,
            options,
            book=self._book,
            links=self._links,
            ensure=self._meeting.ensure,
            own_addresses=lambda: self.addresses,
        )
        self._closing = False
        host.get_network().register_notifee(Watcher(self._gone))

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where we can be dialled, real ports filled in, ending in /p2p/<our id>."""
        return tuple(own for address in self.host.get_addrs() for own in dialable(str(address)))

    def peers(self) -> list[Peer]:
        """The connected peers of our network."""
        return self._book.all()

    # -- connections

    async def connect(self, address: str) -> PeerId:
        """Dial `/ip4/…/tcp/…/p2p/ID`, say hello, and stay connected from now on.

        Raises BadAddress, PeerUnreachable, Foreigner.
        """
        peer, _ = parse_peer_address(address)
        if peer == self.peer_id:
            raise PeerUnreachable("that is our own address")
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
        """Round trip in seconds. Raises DeadlineExceeded, PeerUnreachable."""
        with deadline(timeout_s, f"no answer to a ping from {peer}"):
            await self._ensure(peer)
            return await self._links.ping(peer)

    # -- requests and dialogues

    async def request(
        self, peer: PeerId, protocol: str, body: bytes, *, timeout_s: float, max_reply_bytes: int
    ) -> bytes:
        """One request, one reply. Tried a second time only when the first cannot have been processed.

        Raises PeerUnreachable (not processed), PeerVanished and DeadlineExceeded (perhaps processed), PeerRefused with
        the peer's reason, ReplyTooLarge, RequestTooLarge.
        """
        if len(body) > MAX_REQUEST_BYTES:
            raise RequestTooLarge(f"{len(body)} bytes to {protocol}, the limit is {MAX_REQUEST_BYTES}")
        with deadline(timeout_s, f"no reply from {peer} to {protocol}"):
            try:
                return await self._ask(peer, protocol, body, max_reply_bytes)
            except PeerVanished:
                raise
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
    ) -> None:
        """Answer requests: `handler(peer, body) -> reply`. It may raise `Refuse` or a ProtocolError to say no."""
        slots = Slots(concurrency, per_peer)
        self._serve(protocol, handler, self._book.__contains__, max_request_bytes, slots)

    def serve_stream(
        self, protocol: str, handler: StreamHandler, *, concurrency: int = 8, per_peer: int = PER_PEER
    ) -> None:
        """Hold dialogues: `handler(peer, dialogue)`; the stream is closed when it returns, reset when it raises."""
        slots = Slots(concurrency, per_peer)
        served = talker(protocol, handler, admit=self._book.__contains__, slots=slots)
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

        self._serve(HELLO, on_hello, lambda _peer: True, MAX_HELLO_BYTES, Slots(16, 2))
        self._serve(INTRODUCE, self._meeting.on_introduce, self._book.__contains__, MAX_INTRODUCE_BYTES, Slots(16, 2))
        for address in self.options.bootstrap:
            peer, _ = parse_peer_address(address)
            self._keeper.want(peer, (*self._keeper.known(peer), address))
        nursery.start_soon(self._keeper.run)
        nursery.start_soon(self._keeper.feel_pulse)
        nursery.start_soon(self.dht.run)

    async def close(self) -> None:
        """Close every connection before the host stops: leaving it alone leaks sockets on both sides."""
        self._closing = True
        with shielded(CLOSE_S):
            await self._links.hang_up_all()
            await self.host.close()

    def _serve(self, protocol: str, handler: RequestHandler, admit: Admit, most: int, slots: Slots) -> None:
        served = answerer(protocol, handler, admit=admit, max_request_bytes=most, slots=slots)
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

    async def _ask(self, peer: PeerId, protocol: str, body: bytes, max_reply_bytes: int) -> bytes:
        await self._ensure(peer)
        return await self._links.exchange(peer, protocol, body, max_reply_bytes)

    def _gone(self, peer: PeerId) -> None:
        if not self._links.connected(peer):
            self._book.remove(peer)
            self.dht.gone(peer)
            if not self._closing:
                self._keeper.lost(peer)


@asynccontextmanager
async def open_network(
    options: NetworkOptions,
    identity_key: bytes,
    *,
    memory: PeerMemory | None = None,
    on_event: OnEvent | None = None,
) -> AsyncIterator[Network]:
    """Listen, join, and yield when ready. `identity_key` is a 32-byte Ed25519 seed.

    `on_event` hears `peer.connected {peer, address, inbound}` and `peer.disconnected {peer}`; it must not block.
    A crash inside ends the caller's block with its own traceback. Raises ListenFailed, BadAddress.
    """
    listen = [parse_listen(text) for text in options.listen]
    for address in listen:
        check_port(address)
    host = make_host(options, identity_key)
    router, mesh = make_gossip(host)
    network = Network(host, options, Gossip(router), memory or NoMemory(), on_event or _nobody)
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
                await network.close()
                nursery.cancel_scope.cancel()
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
