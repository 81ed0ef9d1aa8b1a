"""Offers by gossip among ten nodes, each a process: `python -m tests.bench.gossip [--nodes 10] [--seconds 30]`.

What is told are signed offers of real size (16 centroids of 384 dimensions, 6.6 kB); a delay is from before the wallet
signs until the offer stands in a neighbour's catalogue and journal, checked and on disk. Beside it in the same run: the
same bytes by Kubo's own gossip, unchecked and unkept, when it is there (`python -m tests.support.kubo`), and written to
as many processes over plain TCP by one that holds a connection to each, the least that a fan-out costs here.

Bursts are paced by who tells (`node.market.gossip.TELL_RATE`): the time beside them is until the last node has all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from node.market.gossip import TELL_BURST, TELL_RATE
from tests.support.fanout import kubo_delays, tcp_delays
from tests.support.field import Node, ask_all, open_field, until
from tests.support.kubo import missing

BURST = 500
DEADLINE_S = 300.0
SETTLE_S = 30.0  # the mesh has its degree, and those who have just met compare their catalogues more seldom


def row(name: str, delays: Sequence[float], expected: int, rest: str = "") -> str:
    if not delays:
        return f"{name:<40} nothing of {expected} arrived"
    ranked = sorted(delays)
    half, most = statistics.median(ranked) * 1e3, ranked[int(len(ranked) * 0.99)] * 1e3
    return f"{name:<40} {expected - len(ranked):>6} {half:>9.1f} {most:>9.1f} {ranked[-1] * 1e3:>9.1f} {rest}"


async def gather(nodes: Sequence[Node]) -> None:
    """Until all have met and hear one another."""

    async def listening() -> bool:
        return bool(min(await ask_all(nodes, "listeners")) >= len(nodes) - 1)

    await until(listening, DEADLINE_S)
    await trio.sleep(SETTLE_S)


async def tell(nodes: Sequence[Node], counts: Sequence[int], rate: float = 0.0) -> tuple[list[float], float, float]:
    """Let each node tell its count; the delays of all that arrived, seconds until the last, CPU seconds of all."""
    cpu = sum(state["cpu"] for state in await ask_all(nodes, "state"))
    await ask_all(nodes, "delays")
    expected = sum(counts) * (len(nodes) - 1)
    delays: list[float] = []
    start = time.monotonic()

    async def told(node: Node, number: int, count: int) -> None:
        await trio.sleep(number / len(nodes) / rate if rate else 0)
        await node.ask("tell", count=count, rate=rate, within_s=DEADLINE_S)

    async def whole() -> bool:
        for some in await ask_all(nodes, "delays"):
            delays.extend(some)
        return len(delays) >= expected

    async with trio.open_nursery() as nursery:
        for number, (node, count) in enumerate(zip(nodes, counts, strict=True)):
            nursery.start_soon(told, node, number, count)
    with trio.move_on_after(60):
        await until(whole, DEADLINE_S, 0.5)
    taken = time.monotonic() - start
    return delays, taken, sum(state["cpu"] for state in await ask_all(nodes, "state")) - cpu


async def ours(count: int, rate: float, seconds: float, settings: dict[str, object], *, bursts: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with open_field(Path(folder)) as field:
            plan = {"target_peers": count - 1, "settings": settings}
            hub = await field.start("node0", **plan)
            names = [f"node{number}" for number in range(1, count)]
            nodes = [hub, *await field.start_all(names, bootstrap=[hub.address], **plan)]
            await gather(nodes)
            each = max(1, int(seconds * rate / count))
            before = sum(state["sent"] for state in await ask_all(nodes, "state"))
            delays, _, cpu = await tell(nodes, [each] * count, rate / count)
            sent = sum(state["sent"] for state in await ask_all(nodes, "state")) - before
            each_node = each * count * count  # messages by nodes
            spent = f"{cpu / each_node * 1e3:>6.2f} ms CPU and {sent / each_node:.1f} copies sent a message and node"
            print(row(f"ours, {rate:g}/s from {count} nodes", delays, each * count * (count - 1), spent))
            for tellers in (1, 5) if bursts else ():
                told = [BURST] * tellers + [0] * (count - tellers)
                delays, taken, _ = await tell(nodes, told)
                bound = (BURST - TELL_BURST) / TELL_RATE
                rest = f"{taken:.1f} s until all have all, paced to {bound:.1f} s"
                print(row(f"ours, {BURST} at once from {tellers}", delays, sum(told) * (count - 1), rest))
            states = await ask_all(nodes, "state")
            print(f"dropped {sum(s['dropped'] for s in states)}, refused {sum(s['refused'] for s in states)}, "
                  f"memory of a node {max(s['rss'] for s in states) / 1e6:.0f} MB")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--rate", type=float, default=20.0, help="messages a second, of all nodes together")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--steady", action="store_true", help="no bursts, nobody beside")
    parser.add_argument("--set", default="{}", help='{"node.network.gossip.mesh.FLOOD_PUBLISH": false} and the like')
    chosen = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; milliseconds")
    print(f"{'':<40} {'lost':>6} {'median':>9} {'p99':>9} {'most':>9}")
    settings = json.loads(chosen.set)
    trio.run(lambda: ours(chosen.nodes, chosen.rate, chosen.seconds, settings, bursts=not chosen.steady))
    if chosen.steady:
        return
    each = int(min(chosen.seconds, 10) * chosen.rate)
    expected = each * (chosen.nodes - 1)
    print(row(f"plain TCP, {chosen.rate:g}/s from one", tcp_delays(chosen.nodes, chosen.rate, each), expected))
    if missing():
        print(missing())
    else:
        print(row(f"Kubo, {chosen.rate:g}/s from one", kubo_delays(chosen.nodes, chosen.rate, each), expected))
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
