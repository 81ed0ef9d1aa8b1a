"""Kademlia messages on the wire (github.com/libp2p/specs/blob/master/kad-dht): what we send, and what we take of what
comes.

A message is a protobuf behind its length as a varint, bounded before it is read. Of addresses only those are taken that
can be dialled here (ip4, ip6 or dns with tcp); they are read by hand, because a hostile list of them would cost the
multiaddress library 50 µs each.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import trio
from google.protobuf.message import DecodeError
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID

from node.network.addresses import MAX_ADDRESSES
from node.network.streams import BROKEN
from protocols.errors import BadIdentifier, Malformed
from protocols.ids import PeerId

FIND_NODE = Message.MessageType.FIND_NODE
ADD_PROVIDER = Message.MessageType.ADD_PROVIDER
GET_PROVIDERS = Message.MessageType.GET_PROVIDERS

MAX_REQUEST_BYTES = 16 << 10  # a key and one peer with its addresses is below 1 KiB, a signed record more
MAX_REPLY_BYTES = 256 << 10  # forty peers with thirty addresses each, as Kubo has them
MAX_KEY_BYTES = 80  # the specification's limit for provider keys
MAX_PEERS = 20  # of one list of a message: the specification's k
_MAX_ADDRESS_BYTES = 300
_READ_BYTES = 16 << 10

_IP4, _TCP, _IP6, _P2P = 0x04, 0x06, 0x29, 0x01A5  # github.com/multiformats/multicodec
_NAMES = {0x35: "dns", 0x36: "dns4", 0x37: "dns6"}
_CODES = {name: code for code, name in _NAMES.items()}
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")


class Contact(NamedTuple):
    """A peer and where it can be dialled (`/ip4/…/tcp/…/p2p/ID`)."""

    peer: PeerId
    addresses: tuple[str, ...]


class Question(NamedTuple):
    """What a peer asks of us; `kind` is one of those above."""

    kind: Any
    key: bytes
    providers: tuple[Contact, ...]


class Answer(NamedTuple):
    """What a peer says: who is closer to the key, who has the content."""

    closer: tuple[Contact, ...]
    providers: tuple[Contact, ...]


def read_question(raw: bytes) -> Question:
    """Raises Malformed for anything but the three kinds that we answer, and for a key that cannot be one."""
    message = _parse(raw)
    if message.type not in (FIND_NODE, ADD_PROVIDER, GET_PROVIDERS):
        raise Malformed(f"a message of kind {message.type}, which is not answered here")
    if not 0 < len(message.key) <= MAX_KEY_BYTES:
        raise Malformed(f"a key of {len(message.key)} bytes")
    return Question(message.type, message.key, _contacts(message.providerPeers))


def read_answer(raw: bytes) -> Answer:
    """Raises Malformed."""
    message = _parse(raw)
    return Answer(_contacts(message.closerPeers), _contacts(message.providerPeers))


def question(kind: Any, key: bytes, providers: Sequence[Contact] = ()) -> bytes:
    """A request, with its length in front."""
    return _framed(Message(type=kind, key=key, providerPeers=[_peer(contact) for contact in providers]))


def answer(kind: Any, key: bytes, closer: Sequence[Contact] = (), providers: Sequence[Contact] = ()) -> bytes:
    """A reply, with its length in front."""
    message = Message(type=kind, key=key)
    message.closerPeers.extend(_peer(contact) for contact in closer[:MAX_PEERS])
    message.providerPeers.extend(_peer(contact) for contact in providers[:MAX_PEERS])
    return _framed(message)


async def receive(stream: Any, ahead: bytearray, max_bytes: int) -> bytes | None:
    """The next message; None at the end of the stream. Raises Malformed for one over the bound; has no deadline."""
    while (size := _length(ahead, max_bytes)) is None or len(ahead) < size[0] + size[1]:
        try:
            data = await stream.read(_READ_BYTES)
        except BROKEN:
            return None
        if not data:
            return None
        ahead += data
    start, length = size
    raw = bytes(ahead[start : start + length])
    del ahead[: start + length]
    return raw


async def ask(stream: Any, request: bytes, max_bytes: int) -> bytes:
    """One request, one reply. Raises EOFError when the peer ends the stream without one."""
    await stream.write(request)
    reply = await receive(stream, bytearray(), max_bytes)
    if reply is None:
        raise EOFError("the peer ended the stream without an answer")
    return reply


# -- peers


@lru_cache(4_096)
def name_of(raw: bytes) -> PeerId:
    """A binary peer id as text: SHA-256 of a key, or a short key itself. Raises BadIdentifier."""
    hashed = len(raw) == 34 and raw.startswith(b"\x12\x20")
    plain = 2 < len(raw) <= 44 and raw[0] == 0 and raw[1] == len(raw) - 2
    if not hashed and not plain:
        raise BadIdentifier(f"a peer id of {len(raw)} bytes that is none")
    return PeerId(str(ID(raw)))


@lru_cache(4_096)
def bytes_of(peer: PeerId) -> bytes:
    """A peer id's bytes."""
    return bytes(ID.from_base58(peer).to_bytes())


def _peer(contact: Contact) -> Any:
    raw = [address for text in contact.addresses[:MAX_ADDRESSES] if (address := address_bytes(text))]
    return Message.Peer(id=bytes_of(contact.peer), addrs=raw, connection=Message.ConnectionType.CAN_CONNECT)


def _contacts(peers: Iterable[Any]) -> tuple[Contact, ...]:
    found: dict[PeerId, Contact] = {}
    for peer in list(peers)[:MAX_PEERS]:
        try:
            name = name_of(peer.id)
        except BadIdentifier:
            continue
        texts = (address_text(raw, name) for raw in list(peer.addrs)[: 4 * MAX_ADDRESSES])
        addresses = tuple(dict.fromkeys(text for text in texts if text))[:MAX_ADDRESSES]
        found.setdefault(name, Contact(name, addresses))
    return tuple(found.values())


# -- addresses


def address_text(raw: bytes, peer: PeerId) -> str:
    """A binary address as text that ends in the peer; "" for one that cannot be dialled here or names another peer."""
    if not 0 < len(raw) <= _MAX_ADDRESS_BYTES:
        return ""
    try:
        host, rest = _host(raw)
        if rest[:1] != bytes([_TCP]) or len(rest) < 3 or not any(rest[1:3]):
            return ""
        tail = rest[3:]
        if tail:
            code, at = _varint(tail, 0)
            size, at = _varint(tail, at)
            if code != _P2P or tail[at:] != bytes_of(peer) or size != len(tail) - at:
                return ""
    except (ValueError, IndexError):
        return ""
    return f"{host}/tcp/{int.from_bytes(rest[1:3], 'big')}/p2p/{peer}"


def address_bytes(text: str) -> bytes:
    """An address of ours in binary, without the peer; b"" for one of another shape."""
    parts = text.split("/")  # "", host kind, host, "tcp", port, …
    if len(parts) < 5 or parts[3] != "tcp":
        return b""
    tail = bytes([_TCP]) + int(parts[4]).to_bytes(2, "big")
    if parts[1] in ("ip4", "ip6"):
        return bytes([_IP4 if parts[1] == "ip4" else _IP6]) + ipaddress.ip_address(parts[2]).packed + tail
    name = parts[2].encode()
    return bytes([_CODES[parts[1]]]) + _number(len(name)) + name + tail if parts[1] in _CODES else b""


def _host(raw: bytes) -> tuple[str, bytes]:
    """The first component and what follows it. Raises ValueError, IndexError."""
    code = raw[0]
    if code == _IP4:
        return f"/ip4/{ipaddress.IPv4Address(raw[1:5])}", raw[5:]
    if code == _IP6:
        return f"/ip6/{ipaddress.IPv6Address(raw[1:17])}", raw[17:]
    size, at = _varint(raw, 1)
    name = raw[at : at + size].decode("ascii")
    if code not in _NAMES or not _HOST.match(name):
        raise ValueError("no host that can be dialled")
    return f"/{_NAMES[code]}/{name}", raw[at + size :]


# -- protobuf's frame


def _parse(raw: bytes) -> Any:
    message = Message()
    try:
        message.ParseFromString(raw)
    except DecodeError as err:
        raise Malformed("not a Kademlia message") from err
    return message


def _framed(message: Any) -> bytes:
    body: bytes = message.SerializeToString()
    return _number(len(body)) + body


def _length(ahead: bytes | bytearray, max_bytes: int) -> tuple[int, int] | None:
    """Where the message begins and how long it is; None when the length is not whole yet."""
    try:
        length, start = _varint(ahead, 0)
    except IndexError:
        return None
    except ValueError as err:
        raise Malformed("a length that does not end") from err
    if length > max_bytes:
        raise Malformed(f"a message of {length} bytes, the limit is {max_bytes}")
    return start, length


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint(raw: bytes | bytearray, at: int) -> tuple[int, int]:
    """A number and where it ends. Raises IndexError when it goes on beyond the bytes, ValueError beyond five."""
    value = 0
    for shift in range(0, 35, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than five bytes")


async def say(stream: Any, message: bytes, timeout_s: float) -> None:
    """Write a message. Raises trio.TooSlowError and what the stream raises."""
    with trio.fail_after(timeout_s):
        await stream.write(message)
