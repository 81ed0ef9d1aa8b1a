"""A JSON-RPC client as a script would write it, for tests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio


class Client:
    """Sends and receives lines."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = bytearray()

    async def send(self, line: str | bytes) -> None:
        await self.stream.send_all((line if isinstance(line, bytes) else line.encode()) + b"\n")

    async def line(self) -> bytes:
        """The next line; b"" at the end."""
        with trio.fail_after(5):
            while b"\n" not in self._buffer:
                chunk = await self.stream.receive_some()
                if not chunk:
                    return b""
                self._buffer += chunk
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line

    async def call(self, method: str, **params: object) -> Any:
        """The result; raises on an error."""
        await self.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
        reply = json.loads(await self.line())
        assert "result" in reply, reply
        return reply["result"]


@asynccontextmanager
async def connect(path: Path) -> AsyncIterator[Client]:
    stream = await trio.open_unix_socket(str(path))
    async with stream:
        yield Client(stream)
