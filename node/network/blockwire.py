"""How Bitswap messages stand on a stream, and what a peer wants from us (used by `bitswap`).

A message is a protobuf behind its length as a varint. CIDs of version 0 are a bare multihash; inside the node every CID
is one of version 1.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

import trio
from libp2p.bitswap.pb.bitswap_pb2 import Message

from node.network.streams import BROKEN
from node.network.substrate.outlet import BATCH_BYTES
from node.network.substrate.substrate import READ_BYTES, shielded

MAX_MESSAGE_BYTES = 4 << 20  # the specification's limit
MAX_WANTS = 1_024  # of one peer at a time; Kubo asks for at most 1,024
IDLE_S = 60.0
SEND_S = 30.0
_MULTIHASH = b"\x12\x20"


class Answers:
    """What one peer wants from us, in its order; over `MAX_WANTS` new wants are dropped."""

    def __init__(self) -> None:
        self._wants: OrderedDict[bytes, tuple[bool, bool]] = OrderedDict()
        self._more = trio.Event()

    def want(self, cid: bytes, *, have_only: bool, say_no: bool) -> None:
        if len(cid) <= 64 and (len(self._wants) < MAX_WANTS or cid in self._wants):
            self._wants[cid] = (have_only, say_no)
            self._more.set()

    def cancel(self, cid: bytes) -> None:
        self._wants.pop(cid, None)

    def clear(self) -> None:
        self._wants.clear()

    def take(self) -> tuple[bytes, bool, bool] | None:
        """The next want: CID, whether only "have" is asked, whether "no" is to be said."""
        if not self._wants:
            return None
        cid, (have_only, say_no) = self._wants.popitem(last=False)
        return cid, have_only, say_no

    async def wait(self) -> bool:
        """Until something is wanted; False after `IDLE_S`."""
        if self._wants:
            return True
        self._more = trio.Event()
        with trio.move_on_after(IDLE_S):
            await self._more.wait()
        return bool(self._wants)


def with_version(cid: bytes) -> bytes:
    """Version 0 (a bare multihash) as version 1."""
    return b"\x01\x70" + cid if len(cid) == 34 and cid.startswith(_MULTIHASH) else cid


def prefix_of(cid: bytes) -> bytes:
    """A CID without its digest, as the asker spelled it."""
    return b"\x00\x70\x12\x20" if len(cid) == 34 else cid[:4]


async def messages(stream: Any) -> AsyncIterator[Any]:
    """The messages of a stream until its end; raises ValueError for one over the limit."""
    ahead = bytearray()
    while True:
        size = await _fill(stream, ahead)
        if size is None:
            return
        message = Message()
        message.ParseFromString(bytes(ahead[:size]))
        del ahead[:size]
        yield message


async def _fill(stream: Any, ahead: bytearray) -> int | None:
    """Read until a whole message stands at the front, its length taken off; None at the end of the stream."""
    size = None
    while size is None or len(ahead) < size:
        if size is None:
            size = read_length(ahead)
            if size is not None:
                continue
        try:
            with trio.move_on_after(IDLE_S) as scope:
                data = await stream.read(READ_BYTES)
        except BROKEN:
            return None
        if scope.cancelled_caught or not data:
            return None
        ahead += data
    return size


def read_length(ahead: bytearray) -> int | None:
    """Take the varint length off the front; None when it is not whole yet."""
    value = 0
    for at, byte in enumerate(ahead[:5]):
        value |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            if value > MAX_MESSAGE_BYTES:
                raise ValueError(f"a message of {value} bytes")
            del ahead[: at + 1]
            return value
    if len(ahead) >= 5:
        raise ValueError("a length that does not end")
    return None


async def send(stream: Any, message: Any) -> None:
    body = message.SerializeToString()
    size, prefix = len(body), bytearray()
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    data = bytes(prefix) + body
    for at in range(0, len(data), BATCH_BYTES):
        with trio.fail_after(SEND_S):
            await stream.write(data[at : at + BATCH_BYTES])


async def close(stream: Any) -> None:
    with shielded(2.0):
        try:
            await stream.close()
        except BROKEN:
            return
