"""The receiving end of a connection, between the socket and Yamux's reading loop.

Plain DATA frames of known streams are opened straight into the streams' buffers, or into the places that their readers
wait to see filled (`sinks`). Only what the loop has to think about (SYN, FIN, RST, credit, ping, go-away, unknown
streams) is handed up to it.
"""

from __future__ import annotations

import time
from typing import Any

import trio
from libp2p.io.exceptions import IncompleteReadError

from node.network.guard.allowance import Allowance
from node.network.substrate.noisewire import DATA, HEADER, LENGTH_BYTES, MESSAGE_BYTES, TAG_BYTES, crypt

RAW_BYTES = 4 * (LENGTH_BYTES + MESSAGE_BYTES)  # read at a time
MUCH_BYTES = 1 << 20  # … from a peer that sends much
LITTLE = 64  # reads of little, after which it does not any more
MOST_FRAME = 16 << 20  # longer ones go up to stock code, which ends the connection
BODY_S = 60.0  # without a byte of a frame that has begun; stock code's _DEFAULT_DATA_FRAME_READ_TIMEOUT
FRAMES_PER_S, FRAMES_BURST = 2_000.0, 20_000.0  # other than data, of one connection: a request takes four


class Inlet:
    """Read by Yamux's loop in place of the secured connection; all but `read` is the connection's own."""

    def __init__(self, muxer: Any, session: Any, socket: Any, cipher: Any, ahead: bytes) -> None:
        self._muxer = muxer
        self._session = session
        self._socket = socket
        self._cipher = cipher
        self._raw = memoryview(bytearray(max(RAW_BYTES, 2 * len(ahead))))
        self._raw[: len(ahead)] = ahead
        self._start, self._end = 0, len(ahead)
        self._little = 0  # times in a row
        self._opened = memoryview(bytearray(MESSAGE_BYTES))
        self._plain = memoryview(session._drain(None))  # left by the negotiation of the muxer
        self._head = bytearray()
        self._frames = Allowance(FRAMES_PER_S, FRAMES_BURST)
        self._body = 0  # bytes to come of a frame whose header was read
        self._target: tuple[int, Any, bytearray] | None = None  # where they go: a stream; None: up to the loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def read(self, n: int) -> bytes:
        """The next header that the loop has to see, or the bytes of a body after a header that announced it."""
        if self._body and self._target is None:
            return await self._hand_up(min(n, self._body))
        while True:
            if not (self._body or self._head or self._plain):
                self._run()
            while self._plain or self._open():
                if self._body:
                    self._pour()
                    continue
                self._head += self._take(HEADER.size - len(self._head))
                if len(self._head) == HEADER.size:
                    header = bytes(self._head)
                    self._head.clear()
                    if not self._begin(header):
                        return await self._paced(header)
            await self._receive()

    async def _paced(self, header: bytes) -> bytes:
        """A header for the loop, which takes 0.3 ms for each: who sends pings without end is read more slowly."""
        while not self._frames.take(b"", time.monotonic()):  # noqa: ASYNC110 - only time fills a bucket
            await trio.sleep(0.05)
        return header

    async def _hand_up(self, n: int) -> bytes:
        out = bytearray()
        while len(out) < n:
            if self._plain or self._open():
                out += self._take(n - len(out))
            else:
                await self._receive()
        self._body -= n
        return bytes(out)

    def _run(self) -> None:
        """The common case in one loop: whole messages that hold one whole frame of plain data each.

        Stops at one that holds anything else: that one stands opened.
        """
        streams, buffers = self._muxer.streams, self._muxer.stream_buffers
        touched: dict[int, tuple[Any, bytearray]] = {}
        try:
            while self._open():
                opened = self._plain
                if len(opened) < HEADER.size:
                    return
                version, kind, flags, stream_id, length = HEADER.unpack_from(opened)
                stream, buffer = streams.get(stream_id), buffers.get(stream_id)
                plain = not (version or kind or flags) and length == len(opened) - HEADER.size and length
                if not plain or stream is None or buffer is None:
                    return
                self._plain = opened[:0]
                stream.recv_window -= length  # ends the connection of a sender over its window
                put(stream, buffer, opened[HEADER.size :])
                touched[stream_id] = stream, buffer
        finally:
            for stream_id, (stream, buffer) in touched.items():
                self._tell(stream_id, stream, buffer)

    def _begin(self, header: bytes) -> bool:
        """Whether a frame is plain data for a stream; its window is charged, and its body will be poured."""
        version, kind, flags, stream_id, length = HEADER.unpack(header)
        if kind != DATA:
            return False
        self._body = length
        stream, buffer = self._muxer.streams.get(stream_id), self._muxer.stream_buffers.get(stream_id)
        if version or flags or not 0 < length <= MOST_FRAME or stream is None or buffer is None:
            return False
        stream.recv_window -= length  # ends the connection of a sender over its window
        self._target = stream_id, stream, buffer
        return True

    def _pour(self) -> None:
        assert self._target is not None
        piece = self._take(self._body)
        put(self._target[1], self._target[2], piece)
        self._body -= len(piece)
        self._tell(*self._target)
        if not self._body:
            self._target = None

    def _tell(self, stream_id: int, stream: Any, buffer: bytearray) -> None:
        """Wake the reader, unless it has said that it waits for more."""
        event, sink = self._muxer.stream_events.get(stream_id), getattr(stream, "sink", None)
        there = len(buffer) + (sink.poured if sink else 0)
        if event is not None and (there >= getattr(stream, "awaited_bytes", 1) or (sink and sink.done)):
            event.set()

    def _take(self, most: int) -> memoryview:
        piece, self._plain = self._plain[:most], self._plain[most:]
        return piece

    def _open(self) -> bool:
        """Open the next whole message of the buffer; False when there is none. Raises RawConnError."""
        at = self._start + LENGTH_BYTES
        if self._end < at:
            return False
        end = at + int.from_bytes(self._raw[self._start : at], "big")
        if self._end < end:
            return False
        self._start = end
        self._plain = self._opened[: max(0, end - at - TAG_BYTES)]
        crypt(self._cipher, "decrypt_into", self._cipher.n, self._raw[at:end], self._plain)
        self._cipher.n += 1
        return True

    async def _receive(self) -> None:
        left = self._end - self._start
        rest = self._raw[self._start : self._end]
        self._fit(left)
        self._raw[:left] = rest
        self._start, self._end = 0, left
        if self._body:
            with trio.fail_after(BODY_S):
                got = await self._socket.recv_into(self._raw[left:])
        else:
            got = await self._socket.recv_into(self._raw[left:])
        if not got:
            unread = left + len(self._head) + self._body
            raise IncompleteReadError("the peer ended the connection", expected_bytes=1, received_bytes=unread)
        self._end += got
        self._little = self._little + 1 if got < RAW_BYTES // 4 else 0

    def _fit(self, left: int) -> None:
        """More room for a peer that sends faster than we read, and less again when it has sent little for a while."""
        if self._end == len(self._raw) < MUCH_BYTES:
            self._raw = memoryview(bytearray(MUCH_BYTES))
        elif self._little > LITTLE and len(self._raw) > RAW_BYTES > left:
            self._raw = memoryview(bytearray(RAW_BYTES))


def put(stream: Any, buffer: bytearray, data: memoryview) -> None:
    """Bytes of a stream to where they are waited for, the rest into its buffer."""
    sink = getattr(stream, "sink", None)
    if sink is not None:
        data = data[sink.pour(data) :]
    if data:
        buffer += data
