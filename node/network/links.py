"""Connections and streams to peers, with the library's errors turned into ours.

A link is dialled one address at a time; dials and greetings of one peer are single-flight.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.abc import INotifee
from libp2p.connection_types import ConnectionType
from libp2p.custom_types import TProtocol
from libp2p.host.ping import ID as PING
from libp2p.network import swarm as swarm_module
from libp2p.peer.peerinfo import PeerInfo

from node.network.addresses import CIRCUIT, is_circuit, parse_peer_address, to_id
from node.network.early import EarlyDialogue, Spoken, propose
from node.network.errors import (
    DeadlineExceeded,
    OtherNetworkKey,
    PeerUnreachable,
    PeerVanished,
    ReplyTooLarge,
)
from node.network.guard.conduct import MALFORMED, OVERSIZE, STALLED, Fault
from node.network.host import drop
from node.network.private import OtherKey
from node.network.streams import BROKEN, MAX_REFUSAL_BYTES, Dialogue, converse, open_reply
from protocols.errors import Malformed
from protocols.ids import PeerId

DIAL_S = 8.0
HEAD_START_S = 2.0  # for the direct addresses of a peer that has a relay: behind a NAT they swallow every packet
OPEN_S = 10.0
PING_BYTES = 32
DRIBBLE_S = 3.0  # a reply that has begun and has not come whole by then, when our patience ends, is held back
IDLE_STREAMS = 2  # gossip keeps one in each direction open for the life of a connection

DialCircuit = Callable[[PeerId, str], Awaitable[None]]

# The library gives a first address this head start over the second, and waits for it even when there is no second.
swarm_module._HAPPY_EYEBALLS_DELAY = 0.0


class Links:
    """The connections of one host."""

    def __init__(self, host: Any, blame: Callable[[PeerId, Fault], None]) -> None:
        self._host = host
        self.blame = blame
        self._swarm = host.get_network()
        self._locks: dict[PeerId, tuple[trio.Lock, list[None]]] = {}
        self._spoken = Spoken()
        self.through: DialCircuit | None = None  # dials addresses that lead through a relay

    def connected(self, peer: PeerId) -> bool:
        """Whether a live connection stands."""
        return bool(self._live(peer))

    def direct(self, peer: PeerId) -> bool:
        """Whether a live connection stands that no relay carries."""
        return any(not relayed(conn.muxed_conn) for conn in self._live(peer))

    def relays(self, peer: PeerId) -> tuple[PeerId, ...]:
        """The relays that carry all our connections to a peer; none when one is direct."""
        if self.direct(peer):
            return ()
        ways = [str(way) for conn in self._live(peer) for way in conn.get_transport_addresses()]
        return tuple(PeerId(way.partition(CIRCUIT)[0].rpartition("/")[2]) for way in ways if CIRCUIT in way)

    def remote_host(self, peer: PeerId) -> str:
        """The IP address that a direct connection to a peer leads to, or ""."""
        for conn in self._live(peer):
            remote = None if relayed(conn.muxed_conn) else conn.muxed_conn.get_remote_address()
            if remote:
                return str(remote[0]).removeprefix("::ffff:")
        return ""

    def _live(self, peer: PeerId) -> list[Any]:
        known = self._swarm.get_connections(to_id(peer))
        return [c for c in known if not (c.is_closed or c.muxed_conn.event_shutting_down.is_set())]

    @asynccontextmanager
    async def alone(self, peer: PeerId) -> AsyncIterator[None]:
        """Only one task at a time dials or greets a peer."""
        lock, users = self._locks.setdefault(peer, (trio.Lock(), []))
        users.append(None)
        try:
            async with lock:
                yield
        finally:
            users.pop()
            if not users:
                self._locks.pop(peer, None)

    async def dial(self, peer: PeerId, addresses: Iterable[str]) -> None:
        """Connect by the first address that works, those through relays last. Raises PeerUnreachable, BadAddress."""
        problems: list[PeerUnreachable] = []
        ways = sorted(addresses, key=is_circuit)
        start = trio.current_time()
        for address in ways:
            left = start + HEAD_START_S - trio.current_time()
            try:
                if is_circuit(address):
                    await self._dial_through(peer, address)
                elif not is_circuit(ways[-1]):
                    await self._dial(peer, address, DIAL_S)
                elif left > 0:
                    await self._dial(peer, address, left)
                else:
                    continue
            except PeerUnreachable as err:
                problems.append(err)
            else:
                return
        if len(problems) == 1:
            raise problems[0]
        raise PeerUnreachable("; ".join(map(str, problems)) or f"no address of {peer} is known")

    async def _dial_through(self, peer: PeerId, address: str) -> None:
        if self.through is None:
            raise PeerUnreachable(f"{address} leads through a relay, and those are not used here")
        await self.through(peer, address)

    async def _dial(self, peer: PeerId, address: str, timeout_s: float) -> None:
        named, target = parse_peer_address(address)
        name = to_id(named)
        if named != peer:
            raise PeerUnreachable(f"{address} is not an address of {peer}")
        self._swarm.unblock_peer(name)  # a failed dial bars the peer for 60 s, addresses that have changed included
        self._swarm.peerstore.clear_addrs(name)  # the library dials one address only, and an old one would do
        try:
            with trio.fail_after(timeout_s):
                await self._host.connect(PeerInfo(name, [target]))
        except trio.TooSlowError as err:
            raise PeerUnreachable(f"no answer from {address} within {timeout_s:.1f} s") from err
        except (*BROKEN, ValueError) as err:  # ValueError: what answers there is no peer and speaks another language
            raise unreachable(address, err) from err

    async def open(self, peer: PeerId, protocol: str) -> Dialogue:
        """A stream that speaks `protocol`. Raises PeerUnreachable, PeerRefused when the peer does not speak it."""
        return Dialogue(await self.stream(peer, protocol))

    async def exchange(
        self, peer: PeerId, protocol: str, body: bytes, max_reply_bytes: int, *, repeatable: bool = False
    ) -> bytes:
        """One request and its reply on a stream of their own; a repeatable one saves a round trip (see `early`).

        Raises what `open` and `converse` raise, PeerRefused.
        """
        early = repeatable and self._spoken.by_all([conn.muxed_conn for conn in self._live(peer)], protocol)
        dialogue = await (self._open_early if early else self.open)(peer, protocol)
        asked_at = trio.current_time()
        try:
            reply = await converse(dialogue, body, max(max_reply_bytes + 1, MAX_REFUSAL_BYTES))
        except BaseException as err:
            if isinstance(err, ReplyTooLarge):
                self.blame(peer, OVERSIZE)
            elif dialogue.halted and trio.current_time() - asked_at > DRIBBLE_S:
                self.blame(peer, STALLED)
            await dialogue.reset()
            raise
        await dialogue.close()
        self._spoken.note(dialogue.connection, protocol)
        try:
            return open_reply(peer, reply)
        except Malformed:
            self.blame(peer, MALFORMED)
            raise

    async def _open_early(self, peer: PeerId, protocol: str) -> Dialogue:
        stream = await self._opened(peer, self._swarm.new_stream(to_id(peer)))
        stream.set_protocol(TProtocol(protocol))
        return EarlyDialogue(stream, protocol)

    async def stream(self, peer: PeerId, protocol: str) -> Any:
        """A bare stream of the library. Raises as `open`."""
        return await self._opened(peer, self._proposed(peer, protocol))

    async def _proposed(self, peer: PeerId, protocol: str) -> Any:
        stream = await self._swarm.new_stream(to_id(peer))
        try:
            await propose(stream, peer, protocol)
        except BaseException:
            await drop(stream)
            raise
        stream.set_protocol(TProtocol(protocol))
        return stream

    async def _opened(self, peer: PeerId, opening: Awaitable[Any]) -> Any:
        try:
            with trio.fail_after(OPEN_S):
                return await opening
        except trio.TooSlowError as err:
            raise DeadlineExceeded(f"{peer} did not open a stream within {OPEN_S:g} s") from err
        except (PeerVanished, *BROKEN) as err:
            raise PeerUnreachable(f"no stream to {peer}: {_root(err)!r}") from err

    async def ping(self, peer: PeerId) -> float:
        """Seconds for 32 bytes there and back, without the opening of the stream."""
        stream = await self.stream(peer, PING)
        sent, back = secrets.token_bytes(PING_BYTES), bytearray()
        try:
            start = time.perf_counter()
            await stream.write(sent)
            while len(back) < PING_BYTES:
                back += await stream.read(PING_BYTES - len(back))
            taken = time.perf_counter() - start
        except BROKEN as err:
            raise PeerVanished(f"{peer} went away during a ping") from err
        finally:
            await Dialogue(stream).close()
        if back != sent:
            raise PeerUnreachable(f"{peer} answered a ping with other bytes")
        return taken

    async def straighten(self, peer: PeerId, addresses: Iterable[str]) -> bool:
        """Try to reach a peer directly while a relay carries us; new streams then take the direct way."""
        for address in addresses:
            _, target = parse_peer_address(address)
            try:
                with trio.fail_after(DIAL_S):
                    await self._swarm.dial_addr(target, to_id(peer))
            except (trio.TooSlowError, *BROKEN, ValueError):
                continue
            return True
        return False

    async def leave_relays(self, peer: PeerId) -> None:
        """Close the relayed connections to a peer that is connected directly, as their last streams end."""
        if self.direct(peer):
            for conn in self._live(peer):
                if relayed(conn.muxed_conn) and len(conn.get_streams()) <= IDLE_STREAMS:
                    await conn.close()

    def hosts(self, peer: PeerId) -> list[str]:
        """The addresses that a peer's connections come from or go to."""
        muxers = (conn.muxed_conn for conn in self._swarm.get_connections(to_id(peer)))
        return [str(remote[0]) for muxer in muxers if (remote := muxer.get_remote_address())]

    async def hang_up(self, peer: PeerId) -> None:
        """Close all connections to a peer."""
        await self._swarm.close_peer(to_id(peer))

    async def hang_up_all(self) -> None:
        """Close every connection at once; one by one each costs 0.2 s of the library's pauses."""
        async with trio.open_nursery() as nursery:
            for name in list(self._swarm.connections):
                nursery.start_soon(self._swarm.close_peer, name)


class Watcher(INotifee):  # type: ignore[misc]
    """Tells of connections that come and go."""

    def __init__(self, came: Callable[[PeerId], None], gone: Callable[[PeerId], None]) -> None:
        self._came = came
        self._gone = gone

    async def connected(self, network: Any, conn: Any) -> None:
        self._came(PeerId(str(conn.muxed_conn.peer_id)))

    async def disconnected(self, network: Any, conn: Any) -> None:
        self._gone(PeerId(str(conn.muxed_conn.peer_id)))

    async def opened_stream(self, network: Any, stream: Any) -> None:
        return None

    async def closed_stream(self, network: Any, stream: Any) -> None:
        return None

    async def listen(self, network: Any, multiaddr: Any) -> None:
        return None

    async def listen_close(self, network: Any, multiaddr: Any) -> None:
        return None


def relayed(connection: Any) -> bool:
    """Whether a relay carries a connection of the library."""
    return bool(connection.get_connection_type() == ConnectionType.RELAYED)


def unreachable(address: str, err: BaseException) -> PeerUnreachable:
    """Ours, for what the library raised in a dial."""
    root = _root(err)
    if isinstance(root, OtherKey):
        return OtherNetworkKey(f"{address}: {root}")
    return PeerUnreachable(f"cannot reach {address}: {str(root) or type(root).__name__}")


def _root(err: BaseException) -> BaseException:
    """The innermost of a chain; the library wraps an OSError five times."""
    while True:
        inner = getattr(err, "errors", None)
        deeper = inner[0] if inner else err.__cause__
        if deeper is None:
            return err
        err = deeper
