"""Finding without an index: `python -m tests.bench.search [--documents 4000] [--nodes 20] [--no-network]`.

Documents and queries are Debian's package descriptions and summaries (tests/support/debdata.py), embedded by the real
embedder; shards are skewed by topic (k-means of all vectors), which is what makes some peers worth more than others:

    apart   every node holds whole topics of its own       mixed   every topic is spread over a few nodes, unevenly

Recall is of the ten best hits of one central exact index. "knowing" asks the peers that really hold most of them: no
way of choosing can do better with as many peers. The last table runs real hosts and shards on loopback, all in this one
process, so a query's time is that of all nodes it asks together.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import trio

from node.embed import EmbedderOptions, open_embedder
from node.embed.install import cache_folder
from node.journal import open_journal
from node.journal.catalog import CatalogStore
from node.journal.model_accounts import ModelAccounts
from node.market import sketch as sketches
from node.market.answering import Answering
from node.market.catalog import Catalog
from node.market.kinds import Context
from node.market.noise import perturb
from node.market.routing import choose, expected_hits, shelve
from node.market.search import LEAST_HITS, MOST_PEERS, Search
from node.market.sketch import closeness, sketch
from node.observe.events import EventBus
from node.shard import open_shard
from protocols.codec import encode
from protocols.envelope import sign_item
from protocols.ids import PeerId
from protocols.offers.offer import KIND, Offer
from tests.support.debdata import packages
from tests.support.items import CHAIN_ID, NETWORK, Purse, an_offer
from tests.support.network import member
from tests.support.records import shard_record

WANTED = 10
SEED = 3


def load(documents: int, queries: int) -> tuple[list[str], np.ndarray, list[str], np.ndarray]:
    """Texts and unit vectors of documents and queries, embedded once and kept in the cache."""
    rows = packages()[:]
    random.Random(SEED).shuffle(rows)
    rows = rows[:documents]
    texts = ["\n".join(row.texts["en"])[:600] for row in rows]
    asked = [row.texts["en"][0] for row in rows[:queries]]
    kept = cache_folder() / f"bench-search-{documents}-{queries}.npz"
    if kept.exists():
        with np.load(kept) as whole:
            return texts, whole["documents"], asked, whole["queries"]

    async def embed() -> tuple[np.ndarray, np.ndarray]:
        embedder = await open_embedder(EmbedderOptions())
        return await embedder.embed(texts), await embedder.embed(asked, query=True)

    print(f"embedding {documents} documents, once", flush=True)
    vectors, wanted = trio.run(embed)
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.savez(kept, documents=vectors, queries=wanted)
    return texts, vectors, asked, wanted


def skewed(vectors: np.ndarray, nodes: int, kind: str) -> np.ndarray:
    """Which node holds which document."""
    if kind == "apart":
        _, topic = sketches.group(vectors, nodes)
        return topic
    _, topic = sketches.group(vectors, 5 * nodes)
    dice = np.random.default_rng(SEED)
    holder = np.zeros(len(vectors), int)
    for one in np.unique(topic):
        members = np.flatnonzero(topic == one)
        holder[members] = dice.choice(nodes, len(members), p=dice.dirichlet([0.02] * nodes))
    return holder


def offers_of(vectors: np.ndarray, holder: np.ndarray, nodes: int, model_id: str) -> Iterator[tuple[PeerId, Offer]]:
    """One offer a node, of all it has."""
    for node in range(nodes):
        own = vectors[holder == node]
        if len(own):
            made = msgspec.structs.replace(
                an_offer(), records=len(own), root=node.to_bytes(32, "big"), sketch=sketch(own), model_id=model_id
            )
            yield PeerId(f"node-{node}"), made


def recall(truth: np.ndarray, chosen: list[list[int]]) -> float:
    return float(np.mean([truth[q, nodes].sum() / WANTED for q, nodes in enumerate(chosen)]))


def choices(kind: str, vectors: np.ndarray, queries: np.ndarray, nodes: int) -> None:
    """Recall against peers asked, by way of choosing; then what a sketch's centroids are worth."""
    holder = skewed(vectors, nodes, kind)
    best = np.argsort(-(queries @ vectors.T), axis=1)[:, :WANTED]
    truth = np.stack([np.bincount(holder[row], minlength=nodes) for row in best])
    offers = list(offers_of(vectors, holder, nodes, "m"))
    index = {peer: int(peer.removeprefix("node-")) for peer, _ in offers}
    shelves = shelve(offers, vectors.shape[1])
    dice = np.random.default_rng(SEED)
    scores = {
        "chance": dice.random((len(queries), nodes)),
        "nearest centroid": np.array([_nearest(query, offers, index, nodes) for query in queries]),
        "expected hits": np.array([_expected(query, shelves, index, nodes) for query in queries]),
        "knowing": truth.astype(float),
    }
    fractions = [max(1, round(nodes * share)) for share in (0.05, 0.1, 0.2, 0.3, 0.5)]
    print(f"\n{kind}: recall@{WANTED} by peers asked of {nodes}")
    print(f"{'':18}" + "".join(f"{count:8}" for count in fractions))
    for name, table in scores.items():
        order = np.argsort(-table, axis=1)
        row = [recall(truth, [list(asked[:count]) for asked in order]) for count in fractions]
        print(f"{name:18}" + "".join(f"{value:8.3f}" for value in row))
    _by_expectation(kind, truth, scores["expected hits"], nodes)
    _by_size(vectors, queries, holder, truth, nodes)


def _nearest(query: np.ndarray, offers: list[tuple[PeerId, Offer]], index: dict[PeerId, int], nodes: int) -> np.ndarray:
    row = np.full(nodes, -1.0)
    for peer, offer in offers:
        row[index[peer]] = closeness(query, offer.sketch)
    return row


def _expected(query: np.ndarray, shelves: object, index: dict[PeerId, int], nodes: int) -> np.ndarray:
    row = np.zeros(nodes)
    for peer, hits in expected_hits(query, shelves, WANTED).items():
        row[index[peer]] = hits
    return row


def _by_expectation(kind: str, truth: np.ndarray, expected: np.ndarray, nodes: int) -> None:
    """As many peers as the query deserves: all that are expected to add so many hits."""
    print(f"{kind}: everybody expected to add at least … hits")
    for least in (1.0, 0.5, LEAST_HITS, 0.2, 0.1):
        chosen = [
            [int(p) for p in choose({PeerId(str(n)): row[n] for n in range(nodes)}, {}, most=nodes, least=least)]
            for row in expected
        ]
        print(f"  {least:4}: {statistics.mean(map(len, chosen)):5.2f} peers asked, recall {recall(truth, chosen):.3f}")


def _by_size(vectors: np.ndarray, queries: np.ndarray, holder: np.ndarray, truth: np.ndarray, nodes: int) -> None:
    """A fifth of the peers asked, by how many centroids a sketch may have."""
    fifth, usual = max(1, nodes // 5), sketches.MAX_SKETCH
    print(f"centroids a sketch, its bytes, recall with {fifth} peers asked")
    for size in (1, 2, 4, 8, 16, 32):
        sketches.MAX_SKETCH = size
        offers = list(offers_of(vectors, holder, nodes, "m"))
        index = {peer: int(peer.removeprefix("node-")) for peer, _ in offers}
        shelves = shelve(offers, vectors.shape[1])
        table = np.array([_expected(query, shelves, index, nodes) for query in queries])
        chosen = [list(row[:fifth]) for row in np.argsort(-table, axis=1)]
        weight = statistics.mean(len(encode(offer.sketch)) for _, offer in offers)
        print(f"  {size:4}{weight:8.0f} B   {recall(truth, chosen):.3f}")
    sketches.MAX_SKETCH = usual


def noise(vectors: np.ndarray, queries: np.ndarray) -> None:
    """What noise on a published want costs in matching, and what it leaves to somebody who guesses its text."""
    best = np.argsort(-(queries @ vectors.T), axis=1)[:, :WANTED]
    dice = random.Random(SEED)
    print(
        f"\nnoise on a want: of its {WANTED} nearest records still among them; the want told from {len(queries)} others"
    )
    for epsilon in (0, 4_000, 2_000, 1_000, 500, 250):
        sent = np.stack([perturb(query, epsilon, dice) for query in queries])
        found = np.argsort(-(sent @ vectors.T), axis=1)[:, :WANTED]
        kept = np.mean([len(set(a) & set(b)) / WANTED for a, b in zip(best, found, strict=True)])
        guessed = np.mean(np.argmax(sent @ queries.T, axis=1) == np.arange(len(queries)))
        print(f"  epsilon {epsilon or 'none':>5}   {kept:.3f}   {guessed:.3f}")


class _Shelf:
    """Every record of a node stands in its one offer."""

    def __init__(self, offer: str) -> None:
        self._offer = offer

    def offer_of(self, record: str) -> str:
        return self._offer


async def on_loopback(texts: list[str], vectors: np.ndarray, asked: list[str], queries: np.ndarray, nodes: int) -> None:
    """Real hosts, real shards, real messages: one more node, with nothing of its own, asks."""
    holder = skewed(vectors, nodes, "apart")
    embedder = await open_embedder(EmbedderOptions())
    best = np.argsort(-(queries @ vectors.T), axis=1)[:, :WANTED]
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        folder = Path(stack.enter_context(TemporaryDirectory()))
        journal = await enter(open_journal(folder / "journal.db"))
        catalog = Catalog(CatalogStore(journal), Context(NETWORK, CHAIN_ID), lambda: an_offer().created_at)
        asker = await enter(member("asker"))
        for node in range(nodes):
            own = np.flatnonzero(holder == node)
            host = await enter(member(f"node-{node}"))
            shard = await enter(open_shard(folder / str(node), embedder.model_id, embedder.dim))
            await shard.put([shard_record(texts[i], vectors[i], title=str(i), model_id=embedder.model_id) for i in own])
            offer = msgspec.structs.replace(
                an_offer(),
                offer_no=node + 1,
                root=node.to_bytes(32, "big"),
                records=len(own),
                sketch=sketch(vectors[own]),
                model_id=embedder.model_id,
            )
            purse = Purse(node + 1)
            item = sign_item(
                KIND, encode(offer), peer=host.peer_id, signer=purse.address, chain_id=CHAIN_ID, sign=purse.sign
            )
            await catalog.admit(item.raw, host.peer_id)
            Answering(
                shard=shard, embedder=embedder, offers=_Shelf(item.id), wire=host, signer=purse, till=None,
                accounts=ModelAccounts(journal), price_wei=0, clock=lambda: 0,
            ).serve()  # fmt: skip
            await asker.connect(host.addresses[0])
        empty = await enter(open_shard(folder / "asker", embedder.model_id, embedder.dim))
        search = Search(
            shard=empty, embedder=embedder, catalog=catalog, offers=_Shelf(""), wire=asker, previews=None,
            events=EventBus(),
        )  # fmt: skip
        print(f"\nsearch.run between {nodes} real nodes in one process, load {os.getloadavg()[0]:.1f}")
        for most in (nodes // 5, MOST_PEERS, nodes):
            await _measure(search, asked, best, most)


async def _measure(search: Search, asked: list[str], best: np.ndarray, most: int) -> None:
    seconds, caught, peers = [], [], []
    for query, right in zip(asked, best, strict=True):
        begun = time.perf_counter()
        found = await search.run(query, domain=None, limit=WANTED, max_peers=most)
        seconds.append(time.perf_counter() - begun)
        shown = {int(hit.text.split(" ", 1)[0]) for hit in found.items}
        caught.append(len(shown & {int(i) for i in right}) / WANTED)
        peers.append(found.asked)
    cuts = statistics.quantiles(seconds, n=20)
    print(
        f"  at most {most:2}: {statistics.mean(peers):5.2f} asked, recall@{WANTED} {statistics.mean(caught):.3f}, "
        f"p50 {1000 * cuts[9]:.0f} ms, p95 {1000 * cuts[18]:.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Recall against peers asked.")
    parser.add_argument("--documents", type=int, default=4_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--no-network", action="store_true")
    args = parser.parse_args()
    texts, vectors, asked, queries = load(args.documents, args.queries)
    for kind in ("apart", "mixed"):
        choices(kind, vectors, queries, args.nodes)
    noise(vectors, queries)
    if not args.no_network:
        trio.run(on_loopback, texts, vectors, asked, queries, args.nodes)


if __name__ == "__main__":
    main()
