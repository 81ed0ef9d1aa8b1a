"""Connections through a relay: circuit relay v2 (libp2p/specs/relay/circuit-v2.md), the two ends' side.

The stream to the relay takes the place of a socket: below it the relay's bounds, above it the same handshake as
anywhere, private network key included, so the relay carries bytes that it can neither read nor change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import trio
from libp2p.connection_types import ConnectionType
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.stream.exceptions import StreamEOF
from multiaddr import Multiaddr

from node.network.addresses import parse_circuit, to_id
from node.network.errors import NetworkError, PeerUnreachable
from node.network.guard.conduct import MALFORMED
from node.network.guard.doorway import UPGRADE_S, ConnectionEnded
from node.network.host import drop
from node.network.links import DIAL_S, Links, relayed, unreachable
from node.network.outside import wire
from node.network.outside.relay import part
from node.network.outside.wire import HopMessage, StopMessage
from node.network.private import PrivateConnection
from node.network.streams import BROKEN
from protocols.errors import Malformed
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

TAKEN_AT_ONCE = 64  # circuits from all relays; each may cost a handshake


class Leg(ReadWriteCloser):  # type: ignore[misc]
    """A stream to a relay in the place of a socket."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def read(self, n: int | None = None) -> bytes:
        try:
            data: bytes = await self._stream.read(n)
        except StreamEOF:
            return b""
        except BROKEN as err:
            raise ConnectionClosedError(f"the circuit broke: {err}", transport="relay") from err
        return data

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.write(data)
        except BROKEN as err:
            raise ConnectionClosedError(f"the circuit broke: {err}", transport="relay") from err

    async def close(self) -> None:
        await part(self._stream)

    def get_remote_address(self) -> tuple[str, int] | None:
        return None


class Circuits:
    """Dials and takes circuits for one host."""

    def __init__(
        self,
        host: Any,
        links: Links,
        *,
        meet: Callable[[PeerId, tuple[str, ...]], Awaitable[None]],
        reserved: Callable[[PeerId], bool],
        key: bytes,
    ) -> None:
        self._swarm = host.get_network()
        self._links = links
        self._meet = meet
        self._reserved = reserved
        self._key = key
        self._taken = 0
        host.set_stream_handler(wire.STOP, self.take)

    async def dial(self, peer: PeerId, address: str) -> None:
        """Connect to a peer through the relay that an address names. Raises PeerUnreachable, BadAddress."""
        circuit = parse_circuit(address)
        if circuit is None or circuit.peer != peer:
            raise PeerUnreachable(f"{address} is not a way to {peer} through a relay")
        try:
            with trio.fail_after(DIAL_S):  # also a bound on two peers that are each other's relay and wait in a circle
                await self._meet(circuit.relay, (circuit.address,))
            stream = await self._open(circuit.relay, peer)
        except trio.TooSlowError as err:
            raise PeerUnreachable(f"no answer from the relay {circuit.relay} within {DIAL_S:g} s") from err
        except (NetworkError, Malformed) as err:
            raise PeerUnreachable(f"{address}: {err}") from err
        raw: Any = RawConnection(Leg(stream), True, ConnectionType.RELAYED, [Multiaddr(address)])
        if self._key:
            raw = PrivateConnection(raw, self._key)
        try:
            with trio.fail_after(UPGRADE_S):
                await self._swarm.upgrade_outbound_raw_conn(raw, to_id(peer))
        except trio.TooSlowError as err:
            await drop(stream)
            raise PeerUnreachable(f"no answer through {address} within {UPGRADE_S:g} s") from err
        except (*BROKEN, ValueError) as err:
            await drop(stream)
            raise unreachable(address, err) from err
        except BaseException:
            await drop(stream)
            raise

    async def _open(self, relay: PeerId, peer: PeerId) -> Any:
        if not self._links.direct(relay):
            raise PeerUnreachable(f"the relay {relay} is behind a relay itself")
        stream = await self._links.stream(relay, wire.HOP)
        try:
            await wire.send(stream, HopMessage(type=HopMessage.CONNECT, peer=wire.name(peer)))
            check_status(await wire.receive(stream, HopMessage))
        except BaseException:
            await drop(stream)
            raise
        return stream

    async def take(self, stream: Any) -> None:
        """Answer one STOP stream: somebody comes through a relay of ours. Stays for the life of the connection."""
        relay = PeerId(str(stream.muxed_conn.peer_id))
        self._taken += 1
        try:
            status, source = await self._consider(relay, stream)
            await wire.send(stream, StopMessage(type=StopMessage.STATUS, status=status))
            if source is not None:
                way = Multiaddr(f"/p2p/{relay}/p2p-circuit/p2p/{source}")
                raw = RawConnection(Leg(stream), False, ConnectionType.RELAYED, [way])
                await self._swarm.upgrade_inbound_raw_conn(raw, way)  # until its end, which it raises
            await part(stream)
        except ConnectionEnded:
            await part(stream)
        except (NetworkError, *BROKEN) as err:
            log.debug("circuit not taken", relay=relay, error=str(err))
            await drop(stream)
        finally:
            self._taken -= 1

    async def _consider(self, relay: PeerId, stream: Any) -> tuple[int, PeerId | None]:
        """Our answer, and who comes if it is yes."""
        if relayed(stream.muxed_conn) or not self._reserved(relay):
            return wire.PERMISSION_DENIED, None
        if self._taken > TAKEN_AT_ONCE:
            return wire.RESOURCE_LIMIT_EXCEEDED, None
        try:
            asked = await wire.receive(stream, StopMessage)
            if asked.type != StopMessage.CONNECT:
                return wire.UNEXPECTED_MESSAGE, None
            return wire.OK, wire.named(asked)
        except Malformed:
            self._links.blame(relay, MALFORMED)
            return wire.MALFORMED_MESSAGE, None


def check_status(reply: Any) -> None:
    """Raise PeerUnreachable with the relay's reason unless it agrees."""
    if reply.type != HopMessage.STATUS or reply.status != wire.OK:
        raise PeerUnreachable(wire.MEANINGS.get(reply.status, "the relay refused"))
