"""How one JSON-RPC text reaches an endpoint and its answer comes back: HTTP(S) by h11, or a Unix socket.

A transport keeps a few idle connections. A connection carries one exchange at a time; when its exchange is cut short
(by a deadline, a cancellation or a fault) it is closed, since nobody could tell which bytes belong to whom.
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from urllib.parse import urlsplit

import h11
import msgspec
import trio

from contracts.errors import BadReply, RpcUnavailable

SLOTS = 8  # exchanges at once; further callers wait. Public endpoints throttle above this
CHUNK = 65_536
_BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError, EOFError)


class Connection(ABC):
    """One stream to the endpoint."""

    reused = False

    def __init__(self, stream: trio.abc.Stream, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes

    @abstractmethod
    async def exchange(self, body: bytes) -> bytes:
        """Send one text, return the answer. Raises one of `_BROKEN`, BadReply or RpcUnavailable."""

    @property
    def usable(self) -> bool:
        """Whether another exchange may follow."""
        return True

    async def close(self) -> None:
        await trio.aclose_forcefully(self._stream)


class HttpConnection(Connection):
    """HTTP/1.1 with keep-alive."""

    def __init__(self, stream: trio.abc.Stream, max_bytes: int, host: str, target: str) -> None:
        super().__init__(stream, max_bytes)
        self._http = h11.Connection(h11.CLIENT)
        self._target = target
        self._headers = [("host", host), ("content-type", "application/json"), ("accept", "application/json")]

    async def exchange(self, body: bytes) -> bytes:
        http = self._http
        if self.reused:
            http.start_next_cycle()
        request = h11.Request(
            method="POST", target=self._target, headers=[*self._headers, ("content-length", str(len(body)))]
        )
        parts = [http.send(request), http.send(h11.Data(data=body)), http.send(h11.EndOfMessage())]
        await self._stream.send_all(b"".join(part or b"" for part in parts))
        status, reply = await self._receive()
        # Many nodes put the JSON-RPC error into a 4xx or 5xx body: those are answers
        if status != 200 and not reply.lstrip().startswith((b"{", b"[")):
            raise RpcUnavailable(f"the chain endpoint answered HTTP {status}")
        return reply

    async def _receive(self) -> tuple[int, bytes]:
        status, out = 0, bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._stream.receive_some(CHUNK))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                out += event.data
                if len(out) > self._max_bytes:
                    raise BadReply(f"the chain endpoint's answer is over {self._max_bytes} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return status, bytes(out)
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError

    @property
    def usable(self) -> bool:
        return bool(self._http.our_state is h11.DONE and self._http.their_state is h11.DONE)


class SocketConnection(Connection):
    """JSON texts one after the other on a Unix socket, as geth and anvil speak it: no frame but the JSON itself."""

    async def exchange(self, body: bytes) -> bytes:
        await self._stream.send_all(body + b"\n")
        out = bytearray()
        while True:
            chunk = await self._stream.receive_some(CHUNK)
            if not chunk:
                raise EOFError
            out += chunk
            if len(out) > self._max_bytes:
                raise BadReply(f"the chain endpoint's answer is over {self._max_bytes} bytes")
            if chunk.rstrip()[-1:] in (b"}", b"]") and _is_whole(out):
                return bytes(out)


def _is_whole(text: bytearray) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    except RecursionError as err:
        raise BadReply("the chain endpoint's answer is nested too deep") from err
    return True


class Transport:
    """A pool of connections to one endpoint: `http://`, `https://`, or the path of a Unix socket (`ipc:` may lead)."""

    def __init__(self, endpoint: str, *, max_bytes: int, slots: int = SLOTS) -> None:
        self._max_bytes = max_bytes
        self._idle: list[Connection] = []
        self._limit = trio.CapacityLimiter(slots)
        parts = urlsplit(endpoint)
        self._tls: ssl.SSLContext | None = None
        if parts.scheme in ("http", "https"):
            if not parts.hostname:
                raise ValueError(f"{endpoint!r} names no host")
            self._host, self._port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
            self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            self._netloc = parts.netloc.rpartition("@")[2]
            self._socket_path = ""
            if parts.scheme == "https":
                self._tls = ssl.create_default_context()
            self.name = f"{parts.scheme}://{self._netloc}"  # never the path: public endpoints carry an API key there
        elif parts.scheme in ("", "ipc", "unix", "file"):
            self._socket_path = parts.path
            self.name = f"ipc:{parts.path}"
        else:
            raise ValueError(f"chain endpoint {parts.scheme}://… is not supported: use http, https or a socket path")

    async def exchange(self, body: bytes) -> bytes:
        """One round trip. Raises RpcUnavailable or BadReply; the caller holds the deadline."""
        async with self._limit:
            while (
                self._idle
            ):  # the endpoint may have closed idle ones: then go on with the next, at last with a fresh one
                try:
                    return await self._over(self._idle.pop(), body)
                except _BROKEN:
                    continue
            try:
                return await self._over(await self._connect(), body)
            except _BROKEN as err:
                raise RpcUnavailable(f"no answer from the chain endpoint {self.name}: {err or 'closed'}") from err

    async def _over(self, connection: Connection, body: bytes) -> bytes:
        done = False
        try:
            reply = await connection.exchange(body)
            done = connection.usable
        finally:
            if not done:
                await connection.close()
        connection.reused = True
        self._idle.append(connection)
        return reply

    async def _connect(self) -> Connection:
        if self._socket_path:
            return SocketConnection(await trio.open_unix_socket(self._socket_path), self._max_bytes)
        stream: trio.abc.Stream
        if self._tls is not None:
            stream = await trio.open_ssl_over_tcp_stream(
                self._host, self._port, ssl_context=self._tls, https_compatible=True
            )
        else:
            stream = await trio.open_tcp_stream(self._host, self._port)
        return HttpConnection(stream, self._max_bytes, self._netloc, self._target)

    async def close(self) -> None:
        """Close the idle connections. Exchanges under way end by their own deadline."""
        with trio.CancelScope(shield=True):  # closing an idle connection does not wait for anybody
            while self._idle:
                await self._idle.pop().close()
