"""Kademlia messages on the wire (github.com/libp2p/specs/blob/master/kad-dht): what we send, and what we take of what
comes.

A message is a protobuf behind its length as a varint, bounded before it is read; of its lists only the first
`MAX_PEERS` count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import trio
from google.protobuf.message import DecodeError
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.utils.varint import encode_uvarint

from node.network.addresses import MAX_ADDRESSES
from node.network.dht.addresses import address_bytes, address_text, bytes_of, name_of, varint
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
_READ_BYTES = 16 << 10


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
    framed: bytes = encode_uvarint(len(body)) + body
    return framed


def _length(ahead: bytes | bytearray, max_bytes: int) -> tuple[int, int] | None:
    """Where the message begins and how long it is; None when the length is not whole yet."""
    try:
        length, start = varint(ahead, 0)
    except IndexError:
        return None
    except ValueError as err:
        raise Malformed("a length that does not end") from err
    if length > max_bytes:
        raise Malformed(f"a message of {length} bytes, the limit is {max_bytes}")
    return start, length


async def say(stream: Any, message: bytes, timeout_s: float) -> None:
    """Write a message. Raises trio.TooSlowError and what the stream raises."""
    with trio.fail_after(timeout_s):
        await stream.write(message)
