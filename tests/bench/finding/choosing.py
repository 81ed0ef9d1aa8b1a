"""Recall against peers asked, by way of choosing whom to ask; no network, the exact scores of everybody's records."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec
import numpy as np

from config.settings import Market as MarketSettings
from node.market.search.outline import AXES, REGIONS, Outline, outline, read
from node.market.search.routing import Shelves, choose, expected_hits, shelve
from node.market.search.search import FIRST, LEAST_HITS, MOST_PEERS
from node.market.search.sketch import closeness, sketch
from protocols.codec import encode
from protocols.ids import PeerId
from protocols.offers.offer import Offer
from protocols.search.outline import OutlineReply
from tests.bench.finding.data import SEED, Corpus
from tests.support.items import an_offer

WANTED = 10
GOAL = 0.95  # recall, with a fifth of the peers asked
FLOOR = MarketSettings().outline_records
COUNTS = (1, 2, 3, 4, 5, 6, 8)
SIZES = (16, 32, 64, 128)
SHAPES = ((1, 0), (2, 0), (4, 0), (4, 2), (8, 0), (8, 3), (16, 0), (16, 4), (16, 8), (32, 8), (32, 16))  # floor, axes

Offered = list[tuple[PeerId, Offer, Outline | None]]


class Shards:
    """Who holds what, and how many of each query's best hits."""

    def __init__(self, corpus: Corpus, holder: np.ndarray, nodes: int) -> None:
        self.nodes = nodes
        self.holder = holder
        self.vectors = [corpus.vectors[holder == node] for node in range(nodes)]
        self.queries = corpus.queries
        self.scores = corpus.queries @ corpus.vectors.T
        best = np.argsort(-self.scores, axis=1)[:, :WANTED]
        self.truth = np.stack([np.bincount(holder[row], minlength=nodes) for row in best])
        self.offers = [(PeerId(str(node)), _offer(own, node)) for node, own in enumerate(self.vectors) if len(own)]

    def offered(self, least: int = 0, most: int = REGIONS, axes: int = AXES) -> tuple[Offered, float]:
        """Everybody's offer, with outlines (none at `least` 0), and the mean bytes of an outline."""
        if not least:
            return [(peer, offer, None) for peer, offer in self.offers], 0.0
        replies = [
            OutlineReply(regions=outline(self.vectors[int(peer)], least, most=most, axes=axes))
            for peer, _ in self.offers
        ]
        offered: Offered = [
            (peer, offer, read(reply.regions, offer)) for (peer, offer), reply in zip(self.offers, replies, strict=True)
        ]
        return offered, statistics.mean(len(encode(reply)) for reply in replies)

    def recall(self, worth: np.ndarray, count: int) -> float:
        """Of the best hits, when the `count` peers of most worth are asked for every query."""
        order = np.argsort(-worth, axis=1, kind="stable")[:, :count]
        return float(np.take_along_axis(self.truth, order, 1).sum(axis=1).mean() / WANTED)

    def scores_of(self, query: int, peer: PeerId) -> list[float]:
        """What a peer answers."""
        return sorted(self.scores[query, self.holder == int(peer)], reverse=True)[:WANTED]


def _offer(vectors: np.ndarray, node: int) -> Offer:
    return msgspec.structs.replace(
        an_offer(), records=len(vectors), root=node.to_bytes(32, "big"), sketch=sketch(vectors), model_id="m"
    )


def expected(shards: Shards, offered: Offered) -> np.ndarray:
    """The hits expected of every node (columns) for every query (rows)."""
    shelves = shelve(offered, shards.queries.shape[1])
    table = np.zeros((len(shards.queries), shards.nodes))
    for row, query in zip(table, shards.queries, strict=True):
        for peer, hits in expected_hits(query, shelves, WANTED).items():
            row[int(peer)] = hits
    return table


def table(shards: Shards) -> None:
    """All ways of choosing, at a fixed number of peers, then as many peers as our search asks."""
    fixed = {
        "chance": np.random.default_rng(SEED).random(shards.truth.shape),
        "nearest centroid": _nearest(shards),
        "ours, by sketches": expected(shards, shards.offered()[0]),
        "ours, by outlines": expected(shards, shards.offered(FLOOR)[0]),
        "knowing": shards.truth.astype(float),
    }
    print(f"{'peers asked':20}" + "".join(f"{count:7}" for count in (*COUNTS, shards.nodes)))
    for name, worth in fixed.items():
        row = [shards.recall(worth, count) for count in (*COUNTS, shards.nodes)]
        print(f"{name:20}" + "".join(f"{value:7.3f}" for value in row), flush=True)
    needed = [f"{name} {_needed(shards, worth)}" for name, worth in fixed.items()]
    print(f"recall {GOAL} takes, of {shards.nodes} peers: {'; '.join(needed)}")
    for name, least in (("sketches", 0), ("outlines", FLOOR)):
        policy(shards, name, shelve(shards.offered(least)[0], shards.queries.shape[1]))


def _needed(shards: Shards, worth: np.ndarray) -> int:
    """How many peers have to be asked for the recall that is our goal."""
    return next(count for count in range(1, shards.nodes + 1) if shards.recall(worth, count) >= GOAL)


def _nearest(shards: Shards) -> np.ndarray:
    worth = np.full(shards.truth.shape, -1.0)
    for peer, offer in shards.offers:
        worth[:, int(peer)] = [closeness(query, offer.sketch) for query in shards.queries]
    return worth


def policy(shards: Shards, name: str, shelves: Shelves, leasts: Sequence[float] = (LEAST_HITS,)) -> None:
    """What `search.run` does, as many peers as a query deserves: how many that is, and what is found."""
    for least in leasts:
        asked = [_waves(shards, query, shelves, least) for query in range(len(shards.queries))]
        found = statistics.mean(sum(shards.truth[q, int(p)] for p in peers) / WANTED for q, peers in enumerate(asked))
        mean = statistics.mean(map(len, asked))
        most = max(map(len, asked))
        print(
            f"search.run by {name}, who promises {least:.2f} hits at least: {mean:.2f} asked "
            f"({mean / shards.nodes:.1%}), at most {most}, recall {found:.3f}",
            flush=True,
        )


def _waves(shards: Shards, query: int, shelves: Shelves, least: float) -> list[PeerId]:
    asked: list[PeerId] = []
    known: list[float] = []
    for wave in (FIRST, MOST_PEERS - FIRST):
        hits = expected_hits(shards.queries[query], shelves, WANTED, known, asked)
        chosen = choose(hits, {}, most=wave, least=least)
        for peer in chosen:
            known += shards.scores_of(query, peer)
        known = sorted(known, reverse=True)[:WANTED]
        asked += chosen
    return asked


def sizes(shards: Shards) -> None:
    """What an outline's detail is worth: its regions, how few records they may stand for, and their axes."""
    fifth = max(1, shards.nodes // 5)
    print(f"\nwhat detail is worth: recall with {fifth} of {shards.nodes} asked, bytes of an outline, by most regions")
    for most in SIZES:
        print(f"  {most:4} of {FLOOR} records and {AXES} axes" + _worth(shards, fifth, FLOOR, most, AXES))
    print("and by how many records a region stands for at least, and how many axes it has")
    for least, axes in SHAPES:
        print(f"  {least:4} records, {axes:2} axes         " + _worth(shards, fifth, least, 4 * REGIONS, axes))


def _worth(shards: Shards, fifth: int, least: int, most: int, axes: int) -> str:
    offered, size = shards.offered(least, most, axes)
    return f"{shards.recall(expected(shards, offered), fifth):9.3f}{size / 1_000:7.0f} kB"
