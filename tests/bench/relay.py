"""What a relay and a private network cost: `python -m tests.bench.relay`.

A relay, a node behind it and a client, each in a process of its own, in an open and in a private network. The relay's
pace is set out of the way (its default is 4 MiB/s for all it carries), so the rows show what the ways themselves take.
The bound of each row is the direct way of an open network in the same run.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing import get_context
from typing import Any

import trio

from node.network import Dialogue, Network
from node.network.options import RelayLimits
from protocols.ids import PeerId
from tests.support.network import member

SINK, ECHO = "/bench/sink/1", "/bench/echo/1"
FRAME_BYTES = 1 << 20
ROUNDS = 50
PACE = RelayLimits(bytes_per_s=1 << 40, circuit_bytes=1 << 40)


async def _sink(_peer: PeerId, dialogue: Dialogue) -> None:
    left = struct.unpack("!Q", await dialogue.receive(max_bytes=8))[0]
    while left > 0:
        left -= len(await dialogue.receive(max_bytes=FRAME_BYTES))
    await dialogue.send(b"done")


async def _echo(_peer: PeerId, body: bytes) -> bytes:
    return body


async def _serve(wire: Any, name: str, key: bytes, relay: str) -> None:
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    hidden: dict[str, object] = {"listen": ()} if relay else {"relay": PACE}
    async with member(name, private_key=key, **hidden) as network:
        network.serve(ECHO, _echo, max_request_bytes=FRAME_BYTES)
        network.serve_stream(SINK, _sink)
        if relay:
            await network.connect(relay)
            while not network.standing.relays:
                await trio.sleep(0.05)
        wire.send(network.addresses)
        await trio.sleep_forever()


def _process(wire: Any, name: str, key: bytes, relay: str) -> None:
    trio.run(_serve, wire, name, key, relay)


@asynccontextmanager
async def _node(name: str, key: bytes, relay: str = "") -> AsyncIterator[tuple[str, ...]]:
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_process, args=(theirs, name, key, relay), daemon=True)
    process.start()
    try:
        yield await trio.to_thread.run_sync(ours.recv)
    finally:
        process.kill()
        process.join()


async def _measure(client: Network, address: str, size: int) -> tuple[float, float, float]:
    """Seconds to connect, median milliseconds there and back, bytes a second."""
    start = time.perf_counter()
    peer = await client.connect(address)
    met = time.perf_counter() - start
    turns = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        await client.request(peer, ECHO, b"x", timeout_s=30, max_reply_bytes=8)
        turns.append((time.perf_counter() - start) * 1_000)
    frame = os.urandom(FRAME_BYTES)
    async with client.open_stream(peer, SINK) as dialogue:
        start = time.perf_counter()
        await dialogue.send(struct.pack("!Q", size))
        for at in range(0, size, FRAME_BYTES):
            await dialogue.send(frame[: min(FRAME_BYTES, size - at)])
        await dialogue.receive(max_bytes=8, timeout_s=120)
        taken = time.perf_counter() - start
    await client.disconnect(peer)
    return met, statistics.median(turns), size / taken


async def _run(size: int) -> None:
    rows: list[tuple[str, tuple[float, float, float]]] = []
    for kind, key in (("open", b""), ("private", bytes(range(32)))):
        async with _node("bench-relay", key) as relay, _node("bench-hidden", key, relay[0]) as hidden:
            way = next(address for address in hidden if "/p2p-circuit" in address)
            # neither listens: else one would call the other, and the relay would be left
            async with member("bench-client", private_key=key, listen=(), use_relays=False) as client:
                for name, address in (("direct", relay[0]), ("through the relay", way)):
                    rows.append((f"{kind} network, {name}", await _measure(client, address, size)))
    print(f"{size // 1_000_000} MB; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':36} {'connect':>9} {'request':>9} {'MB/s':>8} {'of direct':>9}")
    bound = rows[0][1][2]
    for name, (met, turn, rate) in rows:
        print(f"{name:36} {met * 1_000:6.0f} ms {turn:6.1f} ms {rate / 1e6:8.1f} {rate / bound:9.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=32)
    trio.run(_run, parser.parse_args().megabytes * 1_000_000)
