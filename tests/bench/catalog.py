"""A full catalogue, and catching up with one: `python -m tests.bench.catalog [--offers 100000] [--missed 10000]`.

Offers have 16 centroids of 384 dimensions, as those of some hundred records. The bound beside the query is one matrix
product over the same means, already float32. The bound beside the catch-up is what one core takes to decode the items
and check their signatures; both nodes, their hosts and journals run in this one process.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import trio

from node.journal import open_journal
from node.journal.catalog import CatalogStore
from node.market.catalog import Catalog, Listed
from node.market.gossip import Gossip
from node.market.kinds import Context
from node.market.sketch import sketch
from node.observe.events import EventBus
from protocols.envelope import Item
from protocols.ids import ItemId
from protocols.offers.offer import KIND, Offer
from tests.support.items import ALICE, CHAIN_ID, NETWORK, NOW, Purse, an_offer, signed
from tests.support.network import meet, member

DIM = 384
DOMAINS = ("fashion", "food", "science", "games")
SHOWN = 20


def sketches(count: int) -> list[list[object]]:
    """Sketches of different topics, made as sellers make them."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal(DIM) + 0.8 * rng.standard_normal((200, DIM)) + 0.6 * rng.standard_normal(DIM)
        found.append(sketch((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)))
    return found


def offers(count: int, kinds: int) -> Iterator[Offer]:
    """Offers with bytes of their own, as decoding makes them."""
    made = [msgspec.msgpack.encode(msgspec.structs.replace(an_offer(), sketch=one)) for one in sketches(kinds)]
    for number in range(count):
        offer = msgspec.msgpack.decode(made[number % kinds], type=Offer)
        yield msgspec.structs.replace(offer, offer_no=number + 1, domain=DOMAINS[number % len(DOMAINS)])


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


async def full(count: int) -> None:
    """Memory and ranked queries of a full catalogue."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        journal = await stack.enter_async_context(open_journal(folder / "journal.db"))
        catalog = Catalog(CatalogStore(journal), Context(NETWORK, CHAIN_ID), lambda: NOW)
        purses = [Purse(number) for number in range(1, 65)]
        before = resident_mb()
        for number, offer in enumerate(offers(count, 200)):
            raw = signed(offer, purses[number % 64], ALICE).raw
            item = Item(
                id=ItemId(f"{number:064x}"),
                kind=KIND,
                body=raw[90:],
                peer=ALICE,
                signer=purses[number % 64].address,
                raw=raw,
            )
            catalog._enter(Listed(item=item, body=offer))
        print(f"{count} offers: {(resident_mb() - before) * 1e6 / count / 1e3:.1f} kB each in memory")
        query = np.random.default_rng(1).standard_normal(DIM).astype(np.float32)
        query /= np.linalg.norm(query)
        means = np.random.default_rng(2).standard_normal((count, DIM)).astype(np.float32)
        rows = {
            "nearest of all": lambda: catalog.nearest(query, an_offer().model_id, None, SHOWN, lambda one: True),
            "of one domain": lambda: catalog.nearest(query, an_offer().model_id, "food", SHOWN, lambda one: True),
            "of one domain, a third fits": lambda: catalog.nearest(
                query, an_offer().model_id, "food", SHOWN, lambda one: one.body.offer_no % 3 == 0
            ),
            "one product, float32": lambda: means @ query,
        }
        for name, work in rows.items():
            print(f"  {name:30} {1000 * median(work):7.1f} ms")


def median(work: object) -> float:
    taken = []
    for _ in range(15):
        begun = time.perf_counter()
        work()  # type: ignore[operator]
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


async def behind(missed: int) -> None:
    """A node that missed so many items meets one that has them."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        folder = Path(stack.enter_context(TemporaryDirectory()))
        nodes = []
        for name in ("there", "away"):
            journal, host = await enter(open_journal(folder / f"{name}.db")), await enter(member(name))
            store = CatalogStore(journal)
            catalog = Catalog(store, Context(NETWORK, CHAIN_ID), lambda: NOW)
            gossip = Gossip(catalog, store, host, Purse(9), Context(NETWORK, CHAIN_ID), EventBus(), lambda: NOW)
            nodes.append((catalog, gossip, host))
        (full, telling, there), (empty, hearing, away) = nodes
        purses = [Purse(number) for number in range(1, 65)]
        raws = [signed(offer, purses[n % 64], there.peer_id).raw for n, offer in enumerate(offers(missed, 50))]
        begun = time.process_time()
        examined = [full.examine(raw, None) for raw in raws]
        bound = time.process_time() - begun
        for start in range(0, missed, 500):
            await full.keep(examined[start : start + 500])
        nursery = await enter(trio.open_nursery())
        for gossip in (telling, hearing):
            await nursery.start(gossip.serve)
            for domain in DOMAINS:
                await gossip.follow(domain)
        await meet(there, away)
        begun = time.perf_counter()
        while len(empty._listed) < missed:
            await trio.sleep(0.05)
        took = time.perf_counter() - begun
        print(
            f"{missed} missed items of {sum(map(len, raws)) / missed / 1e3:.1f} kB, here in {took:.1f} s "
            f"({missed / took:.0f}/s); decoding and signatures alone {bound:.1f} s, ratio {took / bound:.1f}"
        )
        nursery.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description="A full catalogue, and catching up with one.")
    parser.add_argument("--offers", type=int, default=100_000)
    parser.add_argument("--missed", type=int, default=10_000)
    args = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}")
    trio.run(full, args.offers)
    trio.run(behind, args.missed)


if __name__ == "__main__":
    main()
