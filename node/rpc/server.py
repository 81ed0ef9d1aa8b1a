"""The Unix socket: who may connect, how much of what, and an orderly end.

Only the user of the daemon (and root) gets through: the file is 0600 from its first instant, inside a 0700 folder, and
the kernel says who is at the other end. Calls of one connection run at once, `IN_FLIGHT` at most; then its reading
pauses. A client that goes away loses its subscriptions; calls that it began run to their end or deadline, because some
of them move money.
"""

from __future__ import annotations

import os
import socket as std
import stat
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

from node.rpc.connection import Work
from node.rpc.dispatch import Dispatcher
from node.rpc.errors import InvalidRequest, to_error

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

LINE_BYTES = 1 << 20
CONNECTIONS = 64
IN_FLIGHT = 32
SUBSCRIPTIONS = 16
BACKLOG = 64
SEND_S = 30.0  # a client that reads nothing for so long is gone


class SocketTaken(Exception):
    """Something that is not a socket lies where ours should be."""

    kind = "config"
    hint = "move it away, or set --socket"


class Connection:
    """One client: reads lines, answers them, carries its subscriptions. Implements `Caller`."""

    def __init__(self, stream: trio.SocketStream, dispatcher: Dispatcher, nursery: trio.Nursery) -> None:
        self._stream = stream
        self._dispatcher = dispatcher
        self._nursery = nursery
        self._sending = trio.Lock()
        self._slots = trio.Semaphore(IN_FLIGHT)
        self._follows: dict[str, trio.CancelScope] = {}
        self._number = 0

    async def run(self) -> None:
        """Read until the client ends, then let its calls finish."""
        async for line in self._lines():
            if len(line) > LINE_BYTES:
                err = InvalidRequest(f"a line has at most {LINE_BYTES} bytes")
                await self._send({"jsonrpc": "2.0", "id": None, "error": to_error(err)})
            else:
                await self._slots.acquire()
                self._nursery.start_soon(self._answer, line)
        for scope in self._follows.values():
            scope.cancel()

    async def _lines(self) -> AsyncIterator[bytes]:
        """Lines that are not blank; one that is too long comes as far as it was read, and is the last."""
        buffer = bytearray()
        try:
            async for chunk in self._stream:
                *lines, rest = chunk.split(b"\n")
                for part in lines:
                    line = bytes(buffer) + part
                    buffer.clear()
                    if line.strip():
                        yield line
                buffer += rest
                if len(buffer) > LINE_BYTES:
                    yield bytes(buffer)
                    return
        except trio.BrokenResourceError:
            return

    async def _answer(self, line: bytes) -> None:
        try:
            reply = await self._dispatcher.answer(line, self)
            if reply is not None:
                await self._write(reply)
        finally:
            self._slots.release()

    async def notify(self, method: str, params: object) -> None:
        await self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def follow(self, work: Work) -> str:
        if len(self._follows) >= SUBSCRIPTIONS:
            raise InvalidRequest(f"a connection has at most {SUBSCRIPTIONS} subscriptions")
        self._number += 1
        id = f"{self._number:#x}"
        self._follows[id] = trio.CancelScope()
        self._nursery.start_soon(self._run, id, work)
        return id

    def drop(self, id: str) -> bool:
        scope = self._follows.get(id)
        if scope is not None:
            scope.cancel()
        return scope is not None

    async def _run(self, id: str, work: Work) -> None:
        try:
            with self._follows[id]:
                await work(id)
        finally:
            del self._follows[id]

    async def _send(self, message: object) -> None:
        await self._write(msgspec.json.encode(message))

    async def _write(self, data: bytes) -> None:
        """A client that is gone or does not read is no error of ours; its reading side ends the connection."""
        try:
            with trio.move_on_after(SEND_S) as scope:
                async with self._sending:
                    await self._stream.send_all(data + b"\n")
            if scope.cancelled_caught:
                await trio.aclose_forcefully(self._stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


class Server:
    """Accepts clients on a bound socket."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._open = 0

    async def accept(self, stream: trio.SocketStream) -> None:
        """Serve one client to its end; refuses strangers and the 65th."""
        async with stream:
            if not _is_ours(stream):
                log.warning("connection of another user refused")
                return
            if self._open >= CONNECTIONS:
                log.warning("too many connections", limit=CONNECTIONS)
                return
            self._open += 1
            try:
                async with trio.open_nursery() as nursery:
                    await Connection(stream, self._dispatcher, nursery).run()
            except Exception:  # the border of a client: its trouble is not the node's
                log.exception("connection ended unexpectedly")
            finally:
                self._open -= 1


def bind(path: Path) -> trio.SocketListener:
    """A listening socket at `path`, 0600 from the first instant; replaces a stale one.

    Call it under the LOCK of the folder: then a socket that lies there belongs to nobody. Raises SocketTaken.
    """
    if os.path.lexists(path):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise SocketTaken(f"{path} is in the way and is not a socket")
        path.unlink()
    sock = std.socket(std.AF_UNIX, std.SOCK_STREAM)
    old = os.umask(0o177)  # process-wide for this one call, on the main thread at start
    try:
        sock.bind(str(path))
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(old)
    sock.listen(BACKLOG)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _is_ours(stream: trio.SocketStream) -> bool:
    credentials = stream.socket.getsockopt(std.SOL_SOCKET, std.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (0, os.getuid())


@asynccontextmanager
async def open_rpc(path: Path, dispatcher: Dispatcher) -> AsyncIterator[None]:
    """Serve the socket for as long as the context lasts; calls in flight are cancelled at its end."""
    listener = bind(path)
    server = Server(dispatcher)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(_serve, server, listener)
            yield
            nursery.cancel_scope.cancel()
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _serve(
    server: Server, listener: trio.SocketListener, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    task_status.started()
    await trio.serve_listeners(server.accept, [listener])
