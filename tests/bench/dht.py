"""Provider records: what telling and finding one costs, beside py-libp2p's own KadDHT on the same hosts.

    python -m tests.bench.dht [--nodes 12] [--keys 20]

All nodes share one process and one core; each has met the one before it only. CPU is of all nodes together: a record is
told to the 20 nearest peers, so with fewer nodes to every other one. A round trip is one question on a stream of its
own between two nodes that are connected: what no search can do without.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any

import structlog
import trio

from node.network import Network
from node.network.addresses import to_id
from node.network.dht import wire as dhtwire
from node.network.streams import Dialogue
from tests.support.network import NETWORK, member

KAD = f"/schwung/{NETWORK}/kad/1.0.0"


def key_of(text: str) -> bytes:
    return b"\x12\x20" + hashlib.sha256(text.encode()).digest()


@asynccontextmanager
async def line(count: int, *, dht: bool) -> AsyncIterator[list[Network]]:
    """Nodes that have met in a row."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(member(f"bench {n}", dht=dht)) for n in range(count)]
        for one, other in pairwise(nodes):
            await other.connect(one.addresses[0])
        yield nodes


async def timed(times: int, work: Callable[[int], Awaitable[object]]) -> tuple[float, float, list[object]]:
    """Median ms, CPU ms each, and what it gave."""
    taken, given, cpu = [], [], time.process_time()
    for number in range(times):
        begun = time.perf_counter()
        given.append(await work(number))
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e3, (time.process_time() - cpu) / times * 1e3, given


def row(what: str, wall_ms: float, cpu_ms: float, trip_ms: float, rest: str) -> None:
    print(f"{what:<34} {wall_ms:>8.1f} {cpu_ms:>8.1f} {wall_ms / trip_ms:>8.1f}  {rest}")


async def round_trip(nodes: Sequence[Network], times: int) -> tuple[float, float]:
    async def ask(_number: int) -> None:
        stream = await nodes[0].host.new_stream(to_id(nodes[1].peer_id), [KAD])
        await dhtwire.ask(stream, dhtwire.question(dhtwire.FIND_NODE, key_of("any")), dhtwire.MAX_REPLY_BYTES)
        await Dialogue(stream).close()

    wall, cpu, _ = await timed(times, ask)
    return wall, cpu


async def ours(count: int, keys: int) -> float:
    async with line(count, dht=True) as nodes:
        await nodes[0].dht.provide(key_of("a first search makes the connections"))
        await nodes[-1].dht.providers(key_of("that the others use"), limit=1, timeout_s=30)
        trip_ms, trip_cpu = await round_trip(nodes, keys)
        row("one question, one answer", trip_ms, trip_cpu, trip_ms, "")
        before = sum(node.dht.answering.answered for node in nodes)
        wall, cpu, told = await timed(keys, lambda n: nodes[0].dht.provide(key_of(f"key {n}")))
        asked = (sum(node.dht.answering.answered for node in nodes) - before) / keys
        row("ours: tell a record", wall, cpu, trip_ms, f"{asked:.0f} questions, kept by {statistics.mean(told):.0f}")  # type: ignore[type-var]
        before = sum(node.dht.answering.answered for node in nodes)
        wall, cpu, found = await timed(
            keys, lambda n: nodes[-1].dht.providers(key_of(f"key {n}"), limit=1, timeout_s=30)
        )
        asked = (sum(node.dht.answering.answered for node in nodes) - before) / keys
        row("ours: find one", wall, cpu, trip_ms, f"{asked:.0f} questions, {sum(map(bool, found))} of {keys} found")
        wall, cpu, none = await timed(keys, lambda n: nodes[-1].dht.providers(key_of(f"no {n}"), limit=1, timeout_s=30))
        row("ours: find that nobody has it", wall, cpu, trip_ms, f"{sum(map(bool, none))} of {keys} found")
        return trip_ms


async def theirs(count: int, keys: int, trip_ms: float) -> None:
    from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from libp2p.tools.anyio_service import background_trio_service
    from multiaddr import Multiaddr

    async with line(count, dht=False) as nodes, AsyncExitStack() as stack:
        tables: list[Any] = [KadDHT(node.host, DHTMode.SERVER) for node in nodes]
        for table in tables:
            await stack.enter_async_context(background_trio_service(table))
        for (one, one_table), (other, other_table) in pairwise(zip(nodes, tables, strict=True)):
            await one_table.routing_table.add_peer(info_from_p2p_addr(Multiaddr(other.addresses[0])))
            await other_table.routing_table.add_peer(info_from_p2p_addr(Multiaddr(one.addresses[0])))
        await tables[0].provide(key_of("a first search makes the connections"))
        await tables[-1].find_providers(key_of("that the others use"))
        wall, cpu, told = await timed(keys, lambda n: tables[0].provide(key_of(f"key {n}")))
        row("KadDHT: tell a record", wall, cpu, trip_ms, f"{sum(map(bool, told))} of {keys} told")
        wall, cpu, found = await timed(keys, lambda n: tables[-1].find_providers(key_of(f"key {n}")))
        row("KadDHT: find one", wall, cpu, trip_ms, f"{sum(map(bool, found))} of {keys} found")


async def main(count: int, keys: int) -> None:
    print(f"{count} nodes in one process, {keys} records, load {os.getloadavg()[0]:.1f}")
    print(f"{'':<34} {'ms':>8} {'CPU ms':>8} {'× trip':>8}")
    trip_ms = await ours(count, keys)
    await theirs(count, keys, trip_ms)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=12)
    parser.add_argument("--keys", type=int, default=20)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # KadDHT warns of every stream that ends
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    trio.run(main, given.nodes, given.keys)
