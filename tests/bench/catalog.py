"""A full catalogue, and catching up with one: `python -m tests.bench.catalog [--offers 100000] [--missed 10000]`.

Offers have 16 centroids of 384 dimensions, no two alike, of 64 sellers. Memory is what the process grows by when it
reads them at a start. The bound beside a query is one float32 product with as many means, in the same run and on one
core, as everything here. The bound beside the catching up is one libp2p stream that brings as many bytes between the
same two processes; what one core takes to decode and to check the signatures stands beside it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one core, before numpy reads it

import argparse
import gc
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import trio

from node.journal import open_journal
from node.journal.catalog import CatalogStore
from node.market.catalog import Catalog, Listed, Wanted
from node.market.gossip import Gossip
from node.market.kinds import Context
from node.market.sketch import Vectors
from node.observe.events import EventBus
from protocols.offers.offer import Offer
from tests.support.crowd import DIM, DOMAINS, SPACE, TOPICS, fill, offers, topics
from tests.support.items import ALICE, BOB, CHAIN_ID, NETWORK, NOW, Purse, signed
from tests.support.network import member

SHOWN = 20
ASKED = 200  # times, each query
COMING = 100  # items a second
RECALLED = 20  # queries
RAW = "/schwung/bench/raw/1"
FILTERS = {
    "nearest of all": Wanted(),
    "of one domain": Wanted(domain="food"),
    "domain, licence": Wanted(domain="food", licence="MIT"),
    "domain, price, quality": Wanted(domain="food", max_price_wei=10**18, min_quality_ppm=500_000),
    "one seller of 64": Wanted(signer=Purse(3).address),
}


def resident_mb() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def opened(journal: object) -> tuple[CatalogStore, Catalog]:
    store = CatalogStore(journal)  # type: ignore[arg-type]
    return store, Catalog(store, Context(NETWORK, CHAIN_ID), lambda: NOW, space=SPACE)


def queries(count: int) -> list[Vectors]:
    rng = np.random.default_rng(11)
    rows = topics()[rng.integers(0, TOPICS, count)] + 1.5 * rng.standard_normal((count, DIM), np.float32)
    return list(rows / np.linalg.norm(rows, axis=1, keepdims=True))


class Heart:
    """How long the event loop was kept from its work."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def beat(self) -> None:
        while True:
            begun = time.perf_counter()
            await trio.sleep(0.001)
            self.longest_s = max(self.longest_s, time.perf_counter() - begun - 0.001)


def cuts(seconds: list[float]) -> str:
    return f"p50 {1e3 * np.percentile(seconds, 50):6.1f}  p99 {1e3 * np.percentile(seconds, 99):6.1f} ms"


async def timed(times: int, ask: Callable[[int], Awaitable[object]]) -> tuple[list[float], float]:
    heart, taken = Heart(), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heart.beat)
        for number in range(times):
            begun = time.perf_counter()
            await ask(number)
            taken.append(time.perf_counter() - begun)
        nursery.cancel_scope.cancel()
    return taken, heart.longest_s


async def full(folder: Path, count: int) -> None:
    """Start, memory, ranked queries of a full catalogue."""
    async with open_journal(folder / "asked.db") as journal:
        _, catalog = opened(journal)
        before = resident_mb()
        (took,), stall_s = await timed(1, lambda _: catalog.load())
        each = (resident_mb() - before) * 1e6 / count
        print(f"{catalog.count()} offers: ready in {took:.1f} s, the loop waits {1e3 * stall_s:.0f} ms at most")
        print(
            f"{each / 1e3:.2f} kB an offer in memory, {os.path.getsize(folder / 'asked.db') / count / 1e3:.1f} on disk"
        )
        asked = queries(ASKED)
        means = np.random.default_rng(2).standard_normal((count, DIM)).astype(np.float32)

        async def product(number: int) -> object:
            return await trio.to_thread.run_sync(np.matmul, means, asked[number])

        bare, _ = await timed(ASKED, product)
        print(f"  {'one product, float32':28} {cuts(bare)}")

        async def table(note: str) -> None:
            for name, wanted in FILTERS.items():

                async def ask(number: int, wanted: Wanted = wanted) -> object:
                    return await catalog.nearest(asked[number], SPACE.model_id, SHOWN, wanted)

                taken, stall_s = await timed(ASKED, ask)
                ratio = np.median(taken) / np.median(bare)
                print(f"  {name + note:28} {cuts(taken)}  {ratio:4.1f} products, loop {1e3 * stall_s:3.0f} ms")

        await table("")
        taken, stall_s = await timed(ASKED, lambda _: catalog.newest(100, FILTERS["domain, licence"]))
        print(f"  {'newest 100, domain, licence':28} {cuts(taken)}  {'':14} loop {1e3 * stall_s:3.0f} ms")
        await recall(catalog, queries(RECALLED))
        coming = [signed(one, Purse(70), BOB).raw for one in offers(2_000, count)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(come, catalog, coming)
            await table(f", {COMING}/s come")
            nursery.cancel_scope.cancel()


async def come(catalog: Catalog, raws: list[bytes]) -> None:
    for number, raw in enumerate(raws * 50):
        if number < len(raws):
            await catalog.keep([catalog.examine(raw, None)])
        await trio.sleep(1 / COMING)


async def recall(catalog: Catalog, asked: list[Vectors]) -> None:
    """How many of the best by all centroids are among those found by means first."""
    table = np.stack(asked).T
    best: list[list[tuple[float, str]]] = [[] for _ in asked]
    async for one in catalog.offers():
        rows = np.frombuffer(b"".join(c.vector for c in one.body.sketch), np.int8).reshape(-1, DIM).astype(np.float32)
        scores = (rows @ table / np.linalg.norm(rows, axis=1, keepdims=True)).max(axis=0)
        for held, score in zip(best, scores, strict=True):
            held.append((float(score), one.item.id))
    caught = 0
    for vector, scored in zip(asked, best, strict=True):
        right = {id for _, id in sorted(scored, reverse=True)[:SHOWN]}
        found = await catalog.nearest(vector, SPACE.model_id, SHOWN)
        caught += len(right & {one.item.id for one, _ in found})
    print(f"  recall@{SHOWN} of the exact ranking by nearest centroid: {caught / SHOWN / len(asked):.3f}")


class Counted:
    """A network that counts what is asked and answered."""

    def __init__(self, network: object) -> None:
        self._network = network
        self.requests = 0
        self.bytes = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._network, name)

    async def request(self, peer: str, protocol: str, body: bytes, **bounds: object) -> bytes:
        reply: bytes = await self._network.request(peer, protocol, body, **bounds)  # type: ignore[attr-defined]
        self.requests += 1
        self.bytes += len(body) + len(reply)
        return reply


async def stand(stack: AsyncExitStack, path: Path, name: str) -> tuple[Catalog, Gossip, Counted]:
    """A node with this journal."""
    journal = await stack.enter_async_context(open_journal(path))
    store, catalog = opened(journal)
    await catalog.load()
    wire = Counted(await stack.enter_async_context(member(name)))
    gossip = Gossip(catalog, store, wire, Purse(9), Context(NETWORK, CHAIN_ID), EventBus(), lambda: NOW)  # type: ignore[arg-type]
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    await nursery.start(gossip.serve)
    for domain in DOMAINS:
        await gossip.follow(domain)
    return catalog, gossip, wire


async def tell(path: Path) -> None:
    """The other process: a node with this journal, until its input ends."""
    async with AsyncExitStack() as stack:
        catalog, _, wire = await stand(stack, path, "there")
        whole = bytes(100 << 20)

        async def raw(_peer: str, body: bytes) -> bytes:
            return whole[: int(body)]

        wire.serve(RAW, raw, max_request_bytes=100, concurrency=1)  # type: ignore[operator]
        print(wire.addresses[0], catalog.count(), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


async def behind(here: Path, there: Path, what: str) -> None:
    """This process meets one whose catalogue is ahead."""
    command = [sys.executable, "-m", "tests.bench.catalog", "--tell", str(there)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        line = ""
        while not line.startswith("/"):
            line = other.stdout.readline()  # type: ignore[union-attr]
        address, total = line.split()
        async with AsyncExitStack() as stack:
            catalog, _, wire = await stand(stack, here, "away")
            missed = int(total) - catalog.count()
            begun, used = time.perf_counter(), time.process_time()
            await wire.connect(address)  # type: ignore[operator]
            while catalog.count() < int(total):
                await trio.sleep(0.002)
            took, used = time.perf_counter() - begun, time.process_time() - used
            size, requests = wire.bytes, wire.requests
            peer = wire.peers()[0].peer  # type: ignore[operator]
            begun = time.perf_counter()
            await wire.request(peer, RAW, str(size).encode(), timeout_s=60, max_reply_bytes=100 << 20)
            raw = time.perf_counter() - begun
        other.stdin.close()  # type: ignore[union-attr]
    print(
        f"{what}: {missed} missed in {took:.2f} s ({used:.2f} of this core), {size / 1e6:.3f} MB in {requests} "
        f"requests; one raw stream of the bytes {raw:.2f} s, ratio {took / raw:.0f}"
    )


async def prepare(folder: Path, count: int, missed: int) -> None:
    """Journals: nothing; `missed` offers; `count`; `count` and ten more."""
    for name in ("empty", "little"):
        async with open_journal(folder / f"{name}.db"):
            pass
    async with open_journal(folder / "little.db") as journal:
        await signed_into(opened(journal)[1], missed, 0)
    await fill(folder / "full.db", count)
    shutil.copy(folder / "full.db", folder / "more.db")
    async with open_journal(folder / "more.db") as journal:
        await signed_into(opened(journal)[1], 10, count)


async def signed_into(catalog: Catalog, count: int, first: int) -> None:
    purses = [Purse(number) for number in range(1, 65)]
    raws = [signed(one, purses[n % 64], ALICE).raw for n, one in enumerate(offers(count, first))]
    begun = time.process_time()
    examined: list[Listed[Offer]] = [catalog.examine(raw, None) for raw in raws]  # type: ignore[misc]
    if count > 10:
        print(f"{count} offers of {len(raws[0]) / 1e3:.1f} kB: {time.process_time() - begun:.2f} s to decode and check")
    for start in range(0, count, 500):
        await catalog.keep(examined[start : start + 500])  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description="A full catalogue, and catching up with one.")
    parser.add_argument("--offers", type=int, default=100_000)
    parser.add_argument("--missed", type=int, default=10_000)
    parser.add_argument("--tell", type=Path)
    parser.add_argument("--full", type=Path)
    args = parser.parse_args()
    if args.tell:
        trio.run(tell, args.tell)
    elif args.full:
        trio.run(full, args.full, args.offers)
    else:
        all_of_it(args)


def all_of_it(args: argparse.Namespace) -> None:
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    with TemporaryDirectory() as name:
        folder = Path(name)
        trio.run(prepare, folder, args.offers, args.missed)
        shutil.copy(folder / "full.db", folder / "asked.db")
        again = [sys.executable, "-m", "tests.bench.catalog", "--full", name, "--offers", str(args.offers)]
        subprocess.run(again, check=True)  # a process whose memory nothing else has grown
        print(f"load {os.getloadavg()[0]:.1f}", flush=True)
        trio.run(behind, folder / "empty.db", folder / "little.db", "from nothing")
        trio.run(behind, folder / "full.db", folder / "more.db", f"among {args.offers}")


if __name__ == "__main__":
    main()
