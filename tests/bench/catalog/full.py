"""Start, memory and ranked queries of a full catalogue."""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import numpy as np
import trio

from node.journal import open_journal
from node.journal.catalog import CatalogStore
from node.journal.journal import Journal
from node.market.catalog.catalog import Catalog, Wanted
from node.market.kinds import Context
from node.market.search.sketch import Vectors
from tests.support.crowd import DIM, SPACE, TOPICS, offers, topics
from tests.support.items import BOB, CHAIN_ID, NETWORK, NOW, Purse, signed

SHOWN = 20
ASKED = 200  # times, each query
COMING = 100  # items a second
RECALLED = 20  # queries
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


def opened(journal: Journal) -> tuple[CatalogStore, Catalog]:
    store = CatalogStore(journal)
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


class Timed(msgspec.Struct):
    """Seconds of each, and how long the loop waited; with what one core worked for each, because others use the cores
    too while this is measured.
    """

    taken: list[float]
    worked_s: float
    longest_s: float

    def __str__(self) -> str:
        p50, p99 = 1e3 * np.percentile(self.taken, (50, 99))
        return (
            f"p50 {p50:6.1f}  p99 {p99:6.1f} ms, {1e3 * self.worked_s:5.1f} of a core; loop {1e3 * self.longest_s:3.0f}"
        )


async def timed(times: int, ask: Callable[[int], Awaitable[object]]) -> Timed:
    heart, taken, used = Heart(), [], time.process_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heart.beat)
        for number in range(times):
            begun = time.perf_counter()
            await ask(number)
            taken.append(time.perf_counter() - begun)
        nursery.cancel_scope.cancel()
    return Timed(taken, (time.process_time() - used) / times, heart.longest_s)


async def full(folder: Path, count: int) -> None:
    """Start, memory, ranked queries of a full catalogue."""
    async with open_journal(folder / "asked.db") as journal:
        _, catalog = opened(journal)
        before = resident_mb()
        start = await timed(1, lambda _: catalog.load())
        each = (resident_mb() - before) * 1e6 / count
        print(f"{catalog.count()} offers, ready to be asked: {start}")
        print(
            f"{each / 1e3:.2f} kB an offer in memory, {os.path.getsize(folder / 'asked.db') / count / 1e3:.1f} on disk"
        )
        asked = queries(ASKED)
        means = np.random.default_rng(2).standard_normal((count, DIM)).astype(np.float32)

        async def product(number: int) -> object:
            return await trio.to_thread.run_sync(np.matmul, means, asked[number])

        bare = await timed(ASKED, product)
        print(f"  {'one product, float32':36} {bare}")

        async def table(note: str) -> None:
            for name, wanted in FILTERS.items():

                async def ask(number: int, wanted: Wanted = wanted) -> object:
                    return await catalog.nearest(asked[number], SPACE.model_id, SHOWN, wanted)

                found = await timed(ASKED, ask)
                ratio = np.median(found.taken) / np.median(bare.taken)
                print(f"  {name + note:36} {found}; {ratio:.1f} products")

        await table("")
        newest = await timed(ASKED, lambda _: catalog.newest(100, FILTERS["domain, licence"]))
        print(f"  {'newest 100, domain, licence':36} {newest}")
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
