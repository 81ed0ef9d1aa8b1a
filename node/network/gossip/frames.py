"""A neighbour's gossip RPCs as they come in, several with one read, and no faster than we care to handle them."""

from __future__ import annotations

from typing import Any

import trio
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import IncompleteReadError
from libp2p.io.exceptions import MessageTooLarge as FrameTooLarge

from node.network.guard.allowance import Allowance

READ_BYTES = 64 * 1024
RPCS_PER_S, RPC_BURST = 700.0, 7_000.0  # an empty one costs one byte to send and 0.1 ms to handle
LENGTH_BYTES = 5  # of a varint; longer ones announce more than 32 GiB


class Frames:
    """Reads what is prefixed with its length as a varint. One at a time, by one task."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream = stream
        self._most = most
        self._ahead = bytearray()
        self._allowance = Allowance(RPCS_PER_S, RPC_BURST)

    async def next(self) -> bytes:
        """The next frame. Raises FrameTooLarge before it is read, ParseError, and what the stream raises at its end."""
        while not self._allowance.take(b"", trio.current_time()):  # noqa: ASYNC110 - only time fills a bucket
            await trio.sleep(0.05)
        while (found := self._length()) is None:
            await self._more()
        size, start = found
        if size > self._most:
            raise FrameTooLarge(f"a frame of {size} bytes, the limit is {self._most}")
        while len(self._ahead) < start + size:
            await self._more()
        frame = bytes(self._ahead[start : start + size])
        del self._ahead[: start + size]
        await trio.lowlevel.checkpoint()  # a buffer holds thousands of small ones
        return frame

    def _length(self) -> tuple[int, int] | None:
        """The length that is announced and how many bytes say so; None when they have not all come."""
        size = 0
        for at, byte in enumerate(self._ahead[:LENGTH_BYTES]):
            size |= (byte & 0x7F) << 7 * at
            if byte < 0x80:
                return size, at + 1
        if len(self._ahead) >= LENGTH_BYTES:
            raise ParseError("a frame's length does not end")
        return None

    async def _more(self) -> None:
        data = await self._stream.read(READ_BYTES)
        if not data:
            raise IncompleteReadError("the stream ended", expected_bytes=1, received_bytes=len(self._ahead))
        self._ahead += data
