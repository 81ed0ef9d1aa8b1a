"""A long line: a TCP proxy that hands on everything, in both directions, a given time later.

async with slow_line(network.addresses[0], delay_s=0.1) as address:
    await other.connect(address)     # a round trip takes 0.2 s
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

CHUNK = 262_144
CHUNKS = 1_024  # on their way at a time, in each direction


async def _take(source: trio.SocketStream, send: trio.MemorySendChannel[tuple[float, bytes]], delay_s: float) -> None:
    async with send:
        try:
            while data := await source.receive_some(CHUNK):
                await send.send((trio.current_time() + delay_s, bytes(data)))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


async def _give(sink: trio.SocketStream, receive: trio.MemoryReceiveChannel[tuple[float, bytes]]) -> None:
    async with receive:
        try:
            async for due, data in receive:
                await trio.sleep_until(due)
                await sink.send_all(data)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


async def _carry(near: trio.SocketStream, *, host: str, port: int, delay_s: float) -> None:
    async with near, await trio.open_tcp_stream(host, port) as far, trio.open_nursery() as nursery:
        for source, sink in ((near, far), (far, near)):
            send, receive = trio.open_memory_channel[tuple[float, bytes]](CHUNKS)
            nursery.start_soon(_take, source, send, delay_s)
            nursery.start_soon(_give, sink, receive)


@asynccontextmanager
async def slow_line(address: str, *, delay_s: float) -> AsyncIterator[str]:
    """The address under which a network's `/ip4/…/tcp/…/p2p/ID` is far away."""
    _, _, host, _, port, *rest = address.split("/")
    carry = partial(_carry, host=host, port=int(port), delay_s=delay_s)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, carry, 0, host="127.0.0.1"))
        yield "/".join(["", "ip4", "127.0.0.1", "tcp", str(listeners[0].socket.getsockname()[1]), *rest])
        nursery.cancel_scope.cancel()
