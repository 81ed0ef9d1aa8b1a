"""How the network compares with plain sockets on this machine, at this moment: `python -m tests.bench.network`.

All rows of a table are taken in the same run, so that their ratios mean something on a loaded machine too. Prints
round trips, payload throughput beside raw trio TCP and asyncio + TLS 1.3, blocks by Bitswap, and what an idle node
costs. Gossip has a benchmark of its own (`tests.bench.gossip`).
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import ssl
import statistics
import struct
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import trio

from node.network import Dialogue, Network
from protocols.ids import PeerId
from tests.support.network import meet, member

MEGABYTE = 1_000_000
ECHO, SINK = "/bench/echo/1", "/bench/sink/1"
FRAME_BYTES = 1 << 20


# -- our network: a server process and a client


async def _serve_network(ready: Any) -> None:
    async def echo(_peer: PeerId, body: bytes) -> bytes:
        return body

    async def sink(_peer: PeerId, dialogue: Dialogue) -> None:
        left = struct.unpack("!Q", await dialogue.receive(max_bytes=8))[0]
        while left > 0:
            left -= len(await dialogue.receive(max_bytes=FRAME_BYTES))
        await dialogue.send(b"done")

    async with member("bench-server") as server:
        server.serve(ECHO, echo, max_request_bytes=1 << 20)
        server.serve_stream(SINK, sink)
        ready.send(server.addresses[0])
        await trio.sleep_forever()


def _network_server(ready: Any) -> None:
    trio.run(_serve_network, ready)


async def _round_trips(client: Network, peer: PeerId, count: int, repeatable: bool) -> list[float]:
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        await client.request(peer, ECHO, b"x" * 64, timeout_s=10, max_reply_bytes=64, repeatable=repeatable)
        taken.append(time.perf_counter() - start)
    return taken


async def _push(client: Network, peer: PeerId, size: int) -> float:
    frame = bytes(FRAME_BYTES)
    start = time.perf_counter()
    async with client.open_stream(peer, SINK) as dialogue:
        await dialogue.send(struct.pack("!Q", size))
        left = size
        while left > 0:
            await dialogue.send(frame[:left])
            left -= min(left, FRAME_BYTES)
        await dialogue.receive(max_bytes=4)
    return time.perf_counter() - start


# -- raw trio TCP


def _tcp_server(ready: Any) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        left = struct.unpack("!Q", await stream.receive_some(8))[0]
        while left > 0:
            left -= len(await stream.receive_some(1 << 20))
        await stream.send_all(b"done")

    async def main() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        ready.send(listener.socket.getsockname()[1])
        await trio.serve_listeners(serve, [listener])

    trio.run(main)


async def _push_tcp(port: int, size: int) -> float:
    piece = bytes(1 << 20)
    start = time.perf_counter()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(struct.pack("!Q", size))
        left = size
        while left > 0:
            await stream.send_all(piece[:left])
            left -= min(left, len(piece))
        await stream.receive_some(4)
    return time.perf_counter() - start


# -- asyncio with TLS 1.3


def _certificate(folder: Path) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    path = folder / "bench.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


def _tls_server(ready: Any, certificate: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = struct.unpack("!Q", await reader.readexactly(8))[0]
        while left > 0:
            left -= len(await reader.read(1 << 20))
        writer.write(b"done")
        await writer.drain()

    async def main() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def _push_tls(port: int, size: int) -> float:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    piece = bytes(1 << 20)
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(struct.pack("!Q", size))
    left = size
    while left > 0:
        writer.write(piece[:left])
        await writer.drain()
        left -= min(left, len(piece))
    await reader.readexactly(4)
    taken = time.perf_counter() - start
    writer.close()
    return taken


# -- tables


class Servers:
    """Server processes, ended at the end."""

    def __init__(self) -> None:
        self._context = get_context("spawn")
        self._processes: list[Any] = []

    def start(self, target: Callable[..., None], *arguments: object) -> Any:
        return self.talk(target, *arguments)[1]

    def talk(self, target: Callable[..., None], *arguments: object) -> tuple[Any, Any]:
        """Start a process; the pipe to it, and its first word."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=target, args=(theirs, *arguments), daemon=True)
        process.start()
        self._processes.append(process)
        return ours, ours.recv()

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self._processes:
            process.terminate()
            process.join()


async def _median(push: Callable[[int], Awaitable[float]], size: int, runs: int = 3) -> float:
    return size / MEGABYTE / statistics.median([await push(size) for _ in range(runs)])


def throughput(sizes: list[int]) -> None:
    """Two processes, one direction, median of three."""
    with Servers() as servers, tempfile.TemporaryDirectory() as folder:
        address = servers.start(_network_server)
        tcp = servers.start(_tcp_server)
        tls = servers.start(_tls_server, str(_certificate(Path(folder))))

        async def ours(size: int) -> float:
            async with member("bench-client") as client:
                peer = await client.connect(address)
                await _push(client, peer, MEGABYTE)
                return await _median(lambda count: _push(client, peer, count), size)

        async def trips(repeatable: bool) -> list[float]:
            async with member("bench-client") as client:
                return await _round_trips(client, await client.connect(address), 300, repeatable)

        for repeatable in (False, True):
            taken = sorted(trio.run(trips, repeatable))
            name = "the same, repeatable" if repeatable else "request round trip"
            print(f"{name:20} median {taken[150] * 1e3:.2f} ms   p99 {taken[297] * 1e3:.2f} ms")
        print(f"\n{'payload':>9} {'ours':>9} {'TCP':>9} {'TLS':>9}   MB/s      of TCP   of TLS")
        for size in sizes:
            mine = trio.run(ours, size)
            raw = trio.run(_median, lambda count: _push_tcp(tcp, count), size)
            secure = asyncio.run(_median(lambda count: _push_tls(tls, count), size))
            row = f"{size // MEGABYTE:>6} MB {mine:>9.1f} {raw:>9.1f} {secure:>9.1f}"
            print(f"{row}          {mine / raw:>10.2f} {mine / secure:>8.2f}")


async def blocks(size: int) -> None:
    """Content added at one host, fetched and stored by another, both in this process."""
    from node.blocks import open_embedded

    data = os.urandom(size)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        one = await stack.enter_async_context(member("bench-one"))
        two = await stack.enter_async_context(member("bench-two"))
        here = await stack.enter_async_context(open_embedded(folder / "one", one))
        there = await stack.enter_async_context(open_embedded(folder / "two", two))
        await meet(one, two)
        start = time.perf_counter()
        cid = await here.add(data)
        added = time.perf_counter()
        await there.fetch(cid, providers=[one.peer_id], max_bytes=size, timeout_s=120)
        fetched = time.perf_counter()
    megabytes = size / MEGABYTE
    print(f"\nblocks {megabytes:.0f} MB   add {megabytes / (added - start):.1f} MB/s", end="   ")
    print(f"fetch by Bitswap, verified and stored {megabytes / (fetched - added):.1f} MB/s")


async def idle(seconds: float) -> None:
    """One node with nothing to do."""
    async with member("bench-idle"):
        await trio.sleep(1)
        before = time.process_time()
        await trio.sleep(seconds)
        used = time.process_time() - before
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(f"\nidle node   RSS {pages * os.sysconf('SC_PAGE_SIZE') / MEGABYTE:.0f} MB", end="   ")
    print(f"CPU {used / seconds:.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    quick = parser.parse_args().quick
    trio.run(idle, 3.0 if quick else 10.0)
    throughput([1 * MEGABYTE, 16 * MEGABYTE] if quick else [1 * MEGABYTE, 16 * MEGABYTE, 64 * MEGABYTE, 256 * MEGABYTE])
    trio.run(blocks, (10 if quick else 60) * MEGABYTE)


if __name__ == "__main__":
    main()
