"""Repairs of py-libp2p 0.8.1's hot path, applied only to the exact source they were written for.

`install()` compares the installed version and the SHA-256 of each function it replaces; when anything differs it
changes nothing and says why, and the network runs on stock code: slower, and a cancelled write can then break a
connection. Measured by tests/bench/network.py. What is replaced, with its lines in libp2p 0.8.1, and why:

- `TrioTCPStream.__init__`, `read` (io/trio.py 24–28, 49–67): two recv() a Noise message; one of 256 KiB feeds many.
- `YamuxStream._auto_tune_and_send_window_update` (stream_muxer/yamux/yamux.py 410–458): a WINDOW_UPDATE frame for every
  read(); here credit goes in half windows.
- `YamuxStream.write` (yamux.py 229–292): polls every 10 ms while the window is empty and kills the stream after 5 s;
  its frames take two Noise messages each.
- `Yamux._write_frame` (yamux.py 851–876): builds a debug string for every frame; a cancellation inside send_all()
  leaves half a message on the wire and the cipher out of step.
- the attribute `YamuxStream.recv_window` (yamux.py 1543–1551): who sends more than its window is only warned of.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import struct
from importlib.metadata import version
from typing import Any

import trio
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.exceptions import RawConnError
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream

WRITE_BYTES = 65_507  # Noise's 65,519 bytes of plaintext less the 12 of a Yamux header: one frame, one message
READ_BYTES = 262_144
RECEIVE_WINDOW = 1 << 20  # bytes in flight on one stream: 20 MB/s at 50 ms
STREAM_STALL_S = 60.0  # a reader may pause this long before its writer gives up
SOCKET_STALL_S = 20.0  # one frame may take this long to enter the kernel; then the connection is dead
_HEADER = struct.Struct("!BBHII")

_VERSION = "0.8.1"
_SOURCES: dict[tuple[type, str], str] = {
    (TrioTCPStream, "__init__"): "4222fa993846189e",
    (TrioTCPStream, "read"): "c606ac89ec9d0eae",
    (YamuxStream, "__init__"): "ab24c0709285d573",  # not replaced: the attributes that the others rely on
    (YamuxStream, "_auto_tune_and_send_window_update"): "6ebcbd822fe7f996",
    (YamuxStream, "write"): "d87f74dfb53ab194",
    (Yamux, "_write_frame"): "16ff969cdd0d2b1b",
}
_installed = False


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
    return ""


def mismatch() -> str:
    """Why the repairs do not fit the installed library, or ""."""
    if version("libp2p") != _VERSION:
        return f"libp2p {version('libp2p')} is installed, the repairs are for {_VERSION}"
    for (owner, name), expected in _SOURCES.items():
        if _digest(owner, name) != expected:
            return f"{owner.__name__}.{name} differs from that of libp2p {_VERSION}"
    return ""


def shielded(seconds: float) -> trio.CancelScope:
    """A scope that no outer cancellation reaches, for at most `seconds`."""
    scope = trio.CancelScope(shield=True)
    scope.deadline = trio.current_time() + seconds
    return scope


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
    self._cached_remote_address = None
    self._ahead = b""
    self._ahead_at = 0


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
    if self.target_recv_window < RECEIVE_WINDOW and pending >= READ_BYTES // 4:
        # the peer really streams: open the window once
        grow = RECEIVE_WINDOW - self.target_recv_window
        self.target_recv_window = RECEIVE_WINDOW
    elif pending < self.target_recv_window // 2:
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
        size = min(self.send_window, WRITE_BYTES, len(view) - at)
        self.send_window -= size
        await self.conn._write_frame(_HEADER.pack(0, 0, 0, self.stream_id, size) + view[at : at + size])
        at += size


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
        # Shielded: half a Noise message on the wire makes every later byte undecipherable. Bounded: a frozen peer's
        # kernel takes nothing, and the shield would keep us here.
        with shielded(SOCKET_STALL_S) as scope:
            await self.secured_conn.write(data)
        if scope.cancelled_caught:
            await self.secured_conn.close()
            raise RawConnError("the peer's socket took nothing, connection dropped")
