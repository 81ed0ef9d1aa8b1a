"""The messages of circuit relay v2 (libp2p/specs/relay/circuit-v2.md), read with bounds.

A message is followed on the same stream by the connection's own bytes, so not one byte more than it is read.
"""

from __future__ import annotations

from typing import Any

import trio
from google.protobuf.message import DecodeError
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb import circuit_pb2
from multiaddr import Multiaddr

from node.network.addresses import to_id
from node.network.errors import BadAddress, DeadlineExceeded, PeerVanished
from node.network.streams import BROKEN
from protocols.errors import Malformed
from protocols.ids import PeerId

HOP = TProtocol("/libp2p/circuit/relay/0.2.0/hop")
STOP = TProtocol("/libp2p/circuit/relay/0.2.0/stop")
MAX_MESSAGE_BYTES = 4_096  # go-libp2p's bound; ours have under 200
CONTROL_S = 10.0
MAX_ID_BYTES = 64  # an RSA id has 34, an Ed25519 one 38

OK = 100
RESERVATION_REFUSED = 200
RESOURCE_LIMIT_EXCEEDED = 201
PERMISSION_DENIED = 202
CONNECTION_FAILED = 203
NO_RESERVATION = 204
MALFORMED_MESSAGE = 400
UNEXPECTED_MESSAGE = 401
MEANINGS = {
    RESERVATION_REFUSED: "the relay makes no reservations",
    RESOURCE_LIMIT_EXCEEDED: "the relay is at its limits",
    PERMISSION_DENIED: "the relay does not permit it",
    CONNECTION_FAILED: "the relay could not reach the peer",
    NO_RESERVATION: "the peer has no reservation at the relay",
    MALFORMED_MESSAGE: "the relay did not understand",
    UNEXPECTED_MESSAGE: "the relay did not expect it",
}

_messages: Any = circuit_pb2  # made at import: there is no source that types could be read from
HopMessage = _messages.HopMessage
StopMessage = _messages.StopMessage


def decode(data: bytes, kind: Any) -> Any:
    """One message. Raises Malformed."""
    message = kind()
    try:
        message.ParseFromString(data)
    except (DecodeError, RecursionError) as err:
        raise Malformed(f"not a {kind.__name__}") from err
    if not message.HasField("type"):
        raise Malformed(f"a {kind.__name__} of no type")
    return message


def named(message: Any) -> PeerId:
    """The peer that a message is about. Raises Malformed."""
    raw = bytes(message.peer.id)
    if not 0 < len(raw) <= MAX_ID_BYTES:
        raise Malformed(f"a peer id of {len(raw)} bytes")
    peer = PeerId(str(ID(raw)))
    try:
        to_id(peer)
    except BadAddress as err:
        raise Malformed("not a peer id") from err
    return peer


def name(peer: PeerId) -> Any:
    """A peer as messages name it."""
    return _messages.PeerId(id=to_id(peer).to_bytes())


def limit(seconds: int, size_bytes: int) -> Any:
    """What a relay lends: seconds in all, bytes in each direction."""
    return _messages.Limit(duration=seconds, data=size_bytes)


def packed(address: str) -> bytes:
    """An address as messages carry it."""
    return bytes(Multiaddr(address).to_bytes())


async def receive(stream: Any, kind: Any) -> Any:
    """Read one message. Raises DeadlineExceeded, PeerVanished, Malformed."""
    try:
        with trio.fail_after(CONTROL_S):
            length, shift = 0, 0
            while True:
                byte = (await _exactly(stream, 1))[0]
                length |= (byte & 0x7F) << shift
                shift += 7
                if length > MAX_MESSAGE_BYTES or (shift > 14 and byte & 0x80):
                    raise Malformed(f"a message of over {MAX_MESSAGE_BYTES} bytes")
                if not byte & 0x80:
                    return decode(await _exactly(stream, length), kind)
    except trio.TooSlowError as err:
        raise DeadlineExceeded(f"no {kind.__name__} within {CONTROL_S:g} s") from err
    except BROKEN as err:
        raise PeerVanished("the stream broke before the message was whole") from err


async def send(stream: Any, message: Any) -> None:
    """Write one message. Raises DeadlineExceeded, PeerVanished."""
    data = message.SerializeToString()
    prefix = bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 0x7F | 0x80, len(data) >> 7])
    try:
        with trio.fail_after(CONTROL_S):
            await stream.write(prefix + data)
    except trio.TooSlowError as err:
        raise DeadlineExceeded(f"no room for a message within {CONTROL_S:g} s") from err
    except (BaseLibp2pError, OSError) as err:
        raise PeerVanished("the stream broke") from err


async def _exactly(stream: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await stream.read(size - len(data))
        if not piece:
            raise PeerVanished("the stream ended before the message was whole")
        data += piece
    return data
