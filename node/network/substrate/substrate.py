"""Repairs of py-libp2p 0.8.1's hot path, applied only to the exact source they were written for.

`install()` compares the installed versions and the SHA-256 of each function that it replaces or relies on, and tries
its own two ends against the stock cipher; when anything differs it changes nothing and says why, and the network runs
on stock code: slower, and a cancelled write can then break a connection. Measured by tests/bench/network.py. What is
replaced, with its lines in libp2p 0.8.1, and why:

- `TrioTCPStream.__init__`, `read` (io/trio.py 24–28, 49–67): two recv() a Noise message; one of 256 KiB feeds many.
- `Yamux.handle_incoming` (stream_muxer/yamux/yamux.py 1182–1693): stays, but reads from a `inlet.Inlet` in place of
  `SecureSession.read` (security/secure_session.py 101–143) and what lies below it. For plain data that stands for lines
  1513–1553: ten awaits, six copies and four debug strings a frame.
- `YamuxStream._auto_tune_and_send_window_update` (yamux.py 410–458): a WINDOW_UPDATE frame for every read(); here
  credit goes in half windows, or 4 MiB.
- `YamuxStream.write` (yamux.py 229–292): polls every 10 ms while the window is empty and kills the stream after 5 s;
  its frames take two Noise messages each. Here nine frames go to the kernel at once (`outlet.Outlet`), which stands for
  `BaseNoiseMsgReadWriter.write_msg` (security/noise/io.py 68–90) and `TrioTCPStream.write` (io/trio.py 30–47).
- `Yamux._write_frame` (yamux.py 851–876): builds a debug string for every frame; a cancellation inside send_all()
  leaves half a message on the wire and the cipher out of step.
- the attribute `YamuxStream.recv_window` (yamux.py 1543–1551): who sends more than its window is only warned of.

`read_into` and `pour_into` stand for `YamuxStream.read` and `Yamux.read_stream` (yamux.py 474–582, 1051–1153) where
data is there.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import trio
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.exceptions import RawConnError
from libp2p.security.noise.io import BaseNoiseMsgReadWriter
from libp2p.security.secure_session import SecureSession
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream
from noise.state import CipherState  # type: ignore[import-untyped]

from node.network.substrate.noisewire import HEADER, WRITE_BYTES
from node.network.substrate.outlet import BATCH_BYTES
from node.network.substrate.pipes import inlet_of, outlet_of, trial
from node.network.substrate.sinks import Sink

READ_BYTES = 262_144
RECEIVE_WINDOW = 1 << 20  # bytes in flight on one stream: 20 MB/s at 50 ms
CREDIT_BYTES = 4 << 20  # at the latest: half of a large window is a large part of what a long line could hold
SOCKET_STALL_S = 20.0  # without the kernel taking a byte; then the connection is dead
STREAM_STALL_S = 60.0  # a reader may pause this long before its writer gives up

_VERSIONS = {"libp2p": "0.8.1", "noiseprotocol": "0.3.1"}
_SOURCES: dict[tuple[type, str], str] = {
    (TrioTCPStream, "__init__"): "4222fa993846189e",
    (TrioTCPStream, "read"): "c606ac89ec9d0eae",
    (YamuxStream, "_auto_tune_and_send_window_update"): "6ebcbd822fe7f996",
    (YamuxStream, "write"): "d87f74dfb53ab194",
    (Yamux, "_write_frame"): "16ff969cdd0d2b1b",
    # not replaced, but relied on
    (YamuxStream, "__init__"): "ab24c0709285d573",
    (Yamux, "handle_incoming"): "ad15ff6943feac20",
    (Yamux, "read_stream"): "d07c99299384666d",
    (SecureSession, "_drain"): "a697c9f38d7b2e6c",
    (BaseNoiseMsgReadWriter, "write_msg"): "00818920318f86aa",
    (CipherState, "encrypt_with_ad"): "b4ed12be2ee3e9a3",
    (CipherState, "decrypt_with_ad"): "1493b737bc5cf71f",
}
_installed = False
_stock_handle_incoming = Yamux.handle_incoming


def install() -> str:
    """Apply the repairs once. Returns "" when they are in place, else the reason why stock code runs."""
    global _installed
    if _installed:
        return ""
    reason = mismatch()
    if reason:
        os.environ.setdefault(
            "PY_YAMUX_RELEASE_ON_READ", "0"
        )  # read at call time; the one setting that helps stock code
        return reason
    _installed = True
    TrioTCPStream.__init__ = _tcp_init
    TrioTCPStream.read = _tcp_read
    YamuxStream._auto_tune_and_send_window_update = _credit
    YamuxStream.write = _write
    YamuxStream.send_window = property(_window, _set_window)
    YamuxStream.recv_window = property(_credit_left, _set_credit_left)
    Yamux._write_frame = _write_frame
    Yamux.handle_incoming = _handle_incoming
    return ""


def mismatch() -> str:
    """Why the repairs do not fit the installed library, or ""."""
    for name, expected in _VERSIONS.items():
        if version(name) != expected:
            return f"{name} {version(name)} is installed, the repairs are for {expected}"
    for (owner, name), digest in _SOURCES.items():
        if _digest(owner, name) != digest:
            return f"{owner.__name__}.{name} differs from the one that the repairs are for"
    return trial()


def shielded(seconds: float) -> trio.CancelScope:
    """A scope that no outer cancellation reaches, for at most `seconds`."""
    scope = trio.CancelScope(shield=True)
    scope.deadline = trio.current_time() + seconds
    return scope


def widen(stream: Any, window_bytes: int) -> None:
    """Let a peer that really streams have so much on its way to us; for a stream whose user bounds it in other ways."""
    if _installed:
        stream.muxed_stream._most_window = window_bytes


async def widen_now(stream: Any, window_bytes: int) -> None:
    """As `widen`, and without waiting for the first bytes: they would come in a window of 256 KiB a round trip."""
    widen(stream, window_bytes)
    muxed = stream.muxed_stream
    if _installed and type(muxed) is YamuxStream:
        await _grow(muxed, window_bytes)


async def _grow(muxed: Any, window_bytes: int) -> None:
    grow = window_bytes - muxed.target_recv_window
    if grow > 0:
        muxed.target_recv_window = window_bytes
        muxed.recv_window += grow
        await muxed.send_window_update(grow)


async def read_into(stream: Any, target: memoryview) -> int:
    """Read at least one byte of a stream into `target`; raises what `stream.read` raises, at the end of it too.

    Wakes when the target can be filled, or a quarter of the window: never before credit could be due.
    """
    muxed = stream.muxed_stream
    if _installed and type(muxed) is YamuxStream:
        conn, name = muxed.conn, muxed.stream_id
        awaited = min(len(target), muxed.target_recv_window // 4)
        while not (muxed.recv_closed or muxed.closed) and (event := conn.stream_events.get(name)) is not None:
            buffer = conn.stream_buffers[name]
            if len(buffer) >= awaited:
                size = min(len(buffer), len(target))
                with memoryview(buffer) as whole:
                    target[:size] = whole[:size]
                del buffer[:size]
                await _credit(muxed, bytes_read=size)
                return size
            muxed.awaited_bytes = awaited
            try:
                await event.wait()
            finally:
                muxed.awaited_bytes = 1
            conn.stream_events[name] = trio.Event()
    data: bytes = await stream.read(len(target))
    target[: len(data)] = data
    return len(data)


async def pour_into(stream: Any, sink: Sink, silence_s: float) -> None:
    """Read frames of a stream into a sink until it is done; raises what `stream.read` raises, at the end of it too.

    Raises TooSlowError when no frame was completed for `silence_s`.
    """
    muxed = stream.muxed_stream
    stock = not _installed or type(muxed) is not YamuxStream
    while not sink.done:
        if stock or muxed.recv_closed or muxed.closed or muxed.stream_id not in muxed.conn.stream_events:
            with trio.fail_after(silence_s):
                sink.pour(memoryview(await stream.read(sink.wants)))
            sink.collect()
        else:
            await _pour(muxed, sink, silence_s)
            await _credit(muxed, bytes_read=sink.collect())


async def _pour(muxed: Any, sink: Sink, silence_s: float) -> None:
    """What is there into the sink; else what comes, until it is done or credit is due."""
    conn, name = muxed.conn, muxed.stream_id
    buffer: bytearray = conn.stream_buffers[name]
    if buffer:
        with memoryview(buffer) as whole:
            taken = sink.pour(whole)
        del buffer[:taken]
        return
    event, filled = conn.stream_events[name], sink.filled
    muxed.sink, muxed.awaited_bytes = sink, muxed.target_recv_window // 4
    try:
        with trio.move_on_after(silence_s):
            await event.wait()
    finally:
        muxed.sink, muxed.awaited_bytes = None, 1
    if event.is_set():
        conn.stream_events[name] = trio.Event()
    elif sink.filled == filled:
        raise trio.TooSlowError


def _digest(owner: type, name: str) -> str:
    try:
        source = inspect.getsource(getattr(owner, name))
    except (OSError, TypeError, AttributeError):  # a frozen or stripped installation
        return ""
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _tcp_init(self: Any, stream: trio.SocketStream) -> None:
    self.stream = stream
    self.read_lock = trio.Lock()
    self.write_lock = trio.Lock()
    self._cached_remote_address = _remote(stream)
    self._ahead = b""
    self._ahead_at = 0


def _remote(stream: trio.SocketStream) -> tuple[str, int] | None:
    # upstream knows none of an IPv6 socket, whose name has four parts (io/trio.py 107)
    try:
        host, port, *_ = stream.socket.getpeername()
    except (OSError, AttributeError, ValueError):
        return None
    return str(host), int(port)


async def _tcp_read(self: Any, n: int | None = None) -> bytes:
    if n == 0:
        return b""
    async with self.read_lock:
        left = len(self._ahead) - self._ahead_at
        if not left:
            data = await _receive(self.stream)
            if n is None or len(data) <= n:
                return data
            self._ahead, self._ahead_at, left = data, 0, len(data)
        start = self._ahead_at
        if n is None or n >= left:
            piece: bytes = self._ahead[start:]
            self._ahead, self._ahead_at = b"", 0
        else:
            piece, self._ahead_at = self._ahead[start : start + n], start + n
        return piece


async def _receive(stream: trio.SocketStream) -> bytes:
    try:
        return bytes(await stream.receive_some(READ_BYTES))
    except trio.BrokenResourceError as err:
        raise ConnectionClosedError(f"TCP connection reset by remote peer: {err}", transport="tcp") from err
    except trio.ClosedResourceError:
        return b""


async def _credit(self: Any, *, bytes_read: int = 0) -> None:
    self._pending_recv_release += bytes_read
    pending = self._pending_recv_release
    grow = 0
    most = self.__dict__.get("_most_window", RECEIVE_WINDOW)
    if self.target_recv_window < most and pending >= READ_BYTES // 4:
        # the peer really streams: open the window once
        grow = most - self.target_recv_window
        self.target_recv_window = most
    elif pending < min(self.target_recv_window // 2, CREDIT_BYTES):
        return
    self._pending_recv_release = 0
    self.recv_window += pending + grow
    await self.send_window_update(pending + grow)


async def _write(self: Any, data: bytes) -> None:
    view = memoryview(data)
    at = 0
    while at < len(view):
        if self.send_closed or self.closed:
            raise MuxedStreamError("Stream is closed for sending")
        if self.send_window <= 0:
            await _window_opens(self)
            continue
        async with self.conn._write_lock:
            size = min(self.send_window, BATCH_BYTES, len(view) - at)
            if size > 0:
                self.send_window -= size
                await _send_data(self.conn, self.stream_id, view[at : at + size])
                at += size


async def _send_data(conn: Any, stream_id: int, data: memoryview) -> None:
    outlet = _outlet(conn)
    if outlet is None:
        for at in range(0, len(data), WRITE_BYTES):
            piece = data[at : at + WRITE_BYTES]
            await _send(conn, HEADER.pack(0, 0, 0, stream_id, len(piece)) + piece)
        return
    sealer, stream = outlet
    await _push(conn, stream, sealer.seal(stream_id, data))


def _outlet(conn: Any) -> Any:
    try:
        return conn._outlet
    except AttributeError:
        conn._outlet = outlet_of(conn.secured_conn)
        return conn._outlet


async def _push(conn: Any, stream: trio.SocketStream, data: memoryview) -> None:
    """All of it into the kernel, whatever is cancelled, unless the kernel takes nothing for `SOCKET_STALL_S`."""
    try:
        with shielded(SOCKET_STALL_S) as scope:
            while data:
                sent = await stream.socket.send(data)
                data = data[sent:]
                scope.deadline = trio.current_time() + SOCKET_STALL_S
    except (OSError, trio.ClosedResourceError) as err:
        raise ConnectionClosedError(f"TCP connection lost: {err}", transport="tcp") from err
    if scope.cancelled_caught:
        await _give_up(conn)


async def _window_opens(self: Any) -> None:
    with trio.move_on_after(STREAM_STALL_S) as scope:
        while self.send_window <= 0 and not self.closed and not self.conn.event_shutting_down.is_set():
            self._opened = trio.Event()
            with trio.move_on_after(1.0):  # the flags beside the window have no event of their own
                await self._opened.wait()
    if scope.cancelled_caught:
        raise MuxedStreamError(f"the reader took nothing for {STREAM_STALL_S:.0f} seconds")
    if self.conn.event_shutting_down.is_set():
        raise MuxedStreamError("connection closed")


def _window(self: Any) -> int:
    return int(self.__dict__.get("_send_window", 0))


def _set_window(self: Any, value: int) -> None:
    self.__dict__["_send_window"] = value
    opened = self.__dict__.get("_opened")
    if value > 0 and opened is not None:
        opened.set()


def _credit_left(self: Any) -> int:
    return int(self.__dict__.get("_recv_window", 0))


def _set_credit_left(self: Any, value: int) -> None:
    if value < 0:
        # of all exceptions, the reading loop ends the connection on this one only; on others it would go on
        raise trio.TooSlowError("a peer sent more than its window")
    self.__dict__["_recv_window"] = value


async def _write_frame(self: Any, data: bytes) -> None:
    async with self._write_lock:
        await _send(self, data)


async def _send(conn: Any, data: bytes) -> None:
    # Shielded: half a Noise message on the wire makes every later byte undecipherable. Bounded: a frozen peer's
    # kernel takes nothing, and the shield would keep us here.
    with shielded(SOCKET_STALL_S) as scope:
        await conn.secured_conn.write(data)
    if scope.cancelled_caught:
        await _give_up(conn)


async def _give_up(conn: Any) -> None:
    await conn.secured_conn.close()
    raise RawConnError("the peer's socket took nothing, connection dropped")


async def _handle_incoming(self: Any) -> None:
    self.secured_conn = inlet_of(self) or self.secured_conn
    try:
        await _stock_handle_incoming(self)
    finally:  # stock code (yamux.py 1182-1693) closes on every way out but cancellation, which left the socket open
        with shielded(SOCKET_STALL_S), suppress(Exception):
            await self.secured_conn.close()
