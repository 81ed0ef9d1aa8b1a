"""Yamux frames in Noise messages, many at a time: the two ends of a connection's hot path (put in by `substrate`).

An `Outlet` seals several DATA frames into one buffer and gives the kernel one write. An `Inlet` stands between the
socket and Yamux's reading loop: plain DATA frames of known streams are opened straight into the streams' buffers, and
only what the loop has to think about (SYN, FIN, RST, credit, ping, go-away, unknown streams) is handed up to it. The
bytes on the wire are those of stock code: a length of two bytes, then one Noise message with one frame.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from types import SimpleNamespace
from typing import Any

import trio
from cryptography.exceptions import InvalidTag
from libp2p.io.exceptions import IncompleteReadError
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.security.noise.io import NoiseTransportReadWriter
from libp2p.security.secure_session import SecureSession
from noise.backends.default.ciphers import ChaCha20Cipher  # type: ignore[import-untyped]
from noise.state import CipherState  # type: ignore[import-untyped]

from node.network.allowance import Allowance
from node.network.helping import Work, share

WRITE_BYTES = 65_507  # Noise's 65,519 bytes of plaintext less the 12 of a Yamux header: one frame, one message
BATCH_FRAMES = 9
BATCH_BYTES = BATCH_FRAMES * WRITE_BYTES
RAW_BYTES = 1 << 20  # read at a time from a peer that sends much
BODY_S = 60.0  # without a byte of a frame that has begun; stock code's _DEFAULT_DATA_FRAME_READ_TIMEOUT
SOCKET_STALL_S = 20.0  # without the kernel taking a byte; then the connection is dead
HEADER = struct.Struct("!BBHII")
FRAMES_PER_S, FRAMES_BURST = 2_000.0, 20_000.0  # other than data, of one connection: a request takes four
_DATA = 0
_MOST_FRAME = 16 << 20  # longer ones go up to stock code, which ends the connection
_TAG = 16
_LENGTH = 2
_MESSAGE = 65_535
_FRAME_BYTES = _LENGTH + HEADER.size + WRITE_BYTES + _TAG  # of a full frame on the wire
WORTH_SHARING = 8  # messages: 0.3 ms for one core, six times what a helper costs


class Outlet:
    """Seals the DATA frames that leave a connection. Its user holds the connection's write lock."""

    def __init__(self, cipher: Any) -> None:
        self._cipher = cipher
        self._plain = [memoryview(bytearray(HEADER.size + WRITE_BYTES)) for _ in range(2)]  # one a hand
        self._sealed = memoryview(bytearray(BATCH_FRAMES * _FRAME_BYTES))

    async def seal_shared(self, stream_id: int, data: memoryview) -> memoryview:
        """As `seal`, with another core's help where that is worth it; cannot be cancelled."""
        work, count, end = self._plan(stream_id, data)
        if count < WORTH_SHARING:
            return self.seal(stream_id, data)
        self._cipher.n += count
        await share(work, count)
        return self._sealed[:end]

    def seal(self, stream_id: int, data: memoryview) -> memoryview:
        """At most `BATCH_BYTES` as frames of a stream; good until the next call."""
        work, count, end = self._plan(stream_id, data)
        self._cipher.n += count
        for place in range(count):
            work(place, 0)
        return self._sealed[:end]

    def _plan(self, stream_id: int, data: memoryview) -> tuple[Work, int, int]:
        """What seals one frame, how many there are, and their bytes in all."""
        count, first = -(-len(data) // WRITE_BYTES), self._cipher.n

        def work(place: int, hand: int) -> None:
            piece = data[place * WRITE_BYTES : (place + 1) * WRITE_BYTES]
            plain = self._plain[hand][: HEADER.size + len(piece)]
            HEADER.pack_into(plain, 0, 0, _DATA, 0, stream_id, len(piece))
            plain[HEADER.size :] = piece
            sealed = self._sealed[place * _FRAME_BYTES :][: _LENGTH + len(plain) + _TAG]
            sealed[:_LENGTH] = (len(plain) + _TAG).to_bytes(_LENGTH, "big")
            _crypt(self._cipher, "encrypt_into", first + place, plain, sealed[_LENGTH:])

        return work, count, len(data) + count * (_FRAME_BYTES - WRITE_BYTES)


class Inlet:
    """Read by Yamux's loop in place of the secured connection; all but `read` is the connection's own."""

    def __init__(self, muxer: Any, session: Any, socket: Any, cipher: Any, ahead: bytes) -> None:
        self._muxer = muxer
        self._session = session
        self._socket = socket
        self._cipher = cipher
        self._raw = memoryview(bytearray(max(4 * (_LENGTH + _MESSAGE), 2 * len(ahead))))
        self._raw[: len(ahead)] = ahead
        self._start, self._end = 0, len(ahead)
        self._opened = memoryview(bytearray(_MESSAGE))
        self._batch = memoryview(b"")
        self._ready: deque[memoryview] = deque()  # messages opened already, in `_batch`
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
                await self._open_some()
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

    async def _open_some(self) -> None:
        """Open all messages that have come whole, if there are enough of them to share the work."""
        messages = [] if self._ready else self._whole()
        if len(messages) < WORTH_SHARING:
            return
        if len(self._batch) < len(self._raw):
            self._batch = memoryview(bytearray(len(self._raw)))
        first = self._cipher.n

        def work(place: int, _hand: int) -> None:
            at, end = messages[place]
            _crypt(self._cipher, "decrypt_into", first + place, self._raw[at:end], self._batch[at : end - _TAG])

        self._cipher.n += len(messages)
        await share(work, len(messages))
        self._ready.extend(self._batch[at : end - _TAG] for at, end in messages)
        self._start = messages[-1][1]

    def _whole(self) -> list[tuple[int, int]]:
        """From where to where the messages stand that have come whole, but for such as nobody sends."""
        raw, messages, at = self._raw, [], self._start + _LENGTH
        while at <= self._end and (end := at + (raw[at - 2] << 8 | raw[at - 1])) <= self._end and end - at >= _TAG:
            messages.append((at, end))
            at = end + _LENGTH
        return messages

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
                _put(stream, buffer, opened[HEADER.size :])
                touched[stream_id] = stream, buffer
        finally:
            for stream_id, (stream, buffer) in touched.items():
                self._tell(stream_id, stream, buffer)

    def _begin(self, header: bytes) -> bool:
        """Whether a frame is plain data for a stream; its window is charged, and its body will be poured."""
        version, kind, flags, stream_id, length = HEADER.unpack(header)
        if kind != _DATA:
            return False
        self._body = length
        stream, buffer = self._muxer.streams.get(stream_id), self._muxer.stream_buffers.get(stream_id)
        if version or flags or not 0 < length <= _MOST_FRAME or stream is None or buffer is None:
            return False
        stream.recv_window -= length  # ends the connection of a sender over its window
        self._target = stream_id, stream, buffer
        return True

    def _pour(self) -> None:
        assert self._target is not None
        piece = self._take(self._body)
        _put(self._target[1], self._target[2], piece)
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
        if self._ready:
            self._plain = self._ready.popleft()
            return True
        at = self._start + _LENGTH
        if self._end < at:
            return False
        end = at + int.from_bytes(self._raw[self._start : at], "big")
        if self._end < end:
            return False
        self._start = end
        self._plain = self._opened[: max(0, end - at - _TAG)]
        _crypt(self._cipher, "decrypt_into", self._cipher.n, self._raw[at:end], self._plain)
        self._cipher.n += 1
        return True

    async def _receive(self) -> None:
        left = self._end - self._start
        rest = self._raw[self._start : self._end]
        if self._end == len(self._raw) < RAW_BYTES:  # it comes faster than we read
            self._raw = memoryview(bytearray(RAW_BYTES))
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


def _put(stream: Any, buffer: bytearray, data: memoryview) -> None:
    """Bytes of a stream to where they are waited for, the rest into its buffer."""
    sink = getattr(stream, "sink", None)
    if sink is not None:
        data = data[sink.pour(data) :]
    if data:
        buffer += data


def _crypt(cipher: Any, verb: str, number: int, source: memoryview, target: memoryview) -> None:
    """Seal or open the message of that number (Noise specification, 5.1 and 12.3)."""
    nonce = b"\0\0\0\0" + number.to_bytes(8, "little")  # OverflowError long after the heat death
    try:
        getattr(cipher.cipher.cipher, verb)(nonce, source, None, target)
    except (InvalidTag, ValueError) as err:
        raise RawConnError("a message that this connection's key does not open") from err


def outlet_of(session: Any) -> tuple[Outlet, Any] | None:
    """An outlet and the socket it ends in; None for a connection that is not Noise over TCP as we know it."""
    parts = _parts(session)
    return (Outlet(parts[0].cipher_state_encrypt), parts[1].stream) if parts else None


def inlet_of(muxer: Any) -> Inlet | None:
    """An inlet for the muxer's connection, from the byte on where reading stands; None as `outlet_of`."""
    parts = _parts(muxer.secured_conn)
    if parts is None:
        return None
    protocol, tcp = parts
    ahead, tcp._ahead = bytes(tcp._ahead[tcp._ahead_at :]), b""
    return Inlet(muxer, muxer.secured_conn, tcp.stream.socket, protocol.cipher_state_decrypt, ahead)


def _parts(session: Any) -> tuple[Any, TrioTCPStream] | None:
    session = session._session if type(session) is Inlet else session
    if type(session) is not SecureSession or type(session.conn) is not NoiseTransportReadWriter:
        return None
    raw = session.conn.read_writer.read_write_closer
    if type(raw) is not RawConnection or type(raw.stream) is not TrioTCPStream:
        return None
    protocol = session.conn.noise_state.noise_protocol
    ciphers = protocol.cipher_state_encrypt, protocol.cipher_state_decrypt
    if any(type(cipher.cipher) is not ChaCha20Cipher for cipher in ciphers):
        return None
    return protocol, raw.stream


def trial() -> str:
    """Both ends against the stock cipher, in memory: why they do not fit, or ""."""
    try:
        return "" if _goes_through() else "what the repairs seal and open is not what stock code does"
    except Exception as err:  # whatever a changed library raises: then we stay with stock code
        return f"a frame did not go through the repairs: {err!r}"


def _goes_through() -> bool:
    body, ping = bytes(range(250)) * 480, HEADER.pack(0, 2, 1, 0, 7)
    sending, stock, receiving = (CipherState(SimpleNamespace(cipher_class=ChaCha20Cipher)) for _ in range(3))
    for cipher in (sending, stock, receiving):
        cipher.initialize_key(bytes(range(32)))
    wire, opened, at = bytes(Outlet(sending).seal(5, memoryview(body))), b"", 0
    while at < len(wire):
        end = at + _LENGTH + int.from_bytes(wire[at : at + _LENGTH], "big")
        opened += stock.decrypt_with_ad(None, wire[at + _LENGTH : end])[HEADER.size :]
        at = end
    wire += (HEADER.size + _TAG).to_bytes(_LENGTH, "big") + sending.encrypt_with_ad(None, ping)
    stream, buffer = SimpleNamespace(recv_window=len(body)), bytearray()
    muxer = SimpleNamespace(streams={5: stream}, stream_buffers={5: buffer}, stream_events={})
    inlet = Inlet(muxer, SimpleNamespace(_drain=lambda _n: b""), None, receiving, wire)
    try:
        inlet.read(HEADER.size).send(None)  # everything is there: it returns without waiting
    except StopIteration as done:
        return opened == body == bytes(buffer) and done.value == ping and stream.recv_window == 0
    return False
