"""Which peers to ask: from their offers' sketches, how many of the best hits each of them probably holds. Pure.

A region (a centroid and the records around it) is taken as normal: the cosines of its records with a query lie around
focus · cos(query, centroid), since the mean of the records is the centroid times its focus, with the variance
(1 - focus²) / (2 · dim). With t the score that the last of the wanted hits will have,

    expected hits of a peer = sum over its regions of  records · P(cosine > t)

and t is where all regions together, with the hits already at hand, yield as many hits as are wanted. `2 · dim` was
measured: vectors of one region differ less along what is asked for than along other directions, where dim would be
the even share. `python -m tests.bench.search` compares this with the nearest centroid, with chance and with knowing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from node.market.sketch import Vectors, dequantise
from protocols.ids import PeerId
from protocols.offers.offer import Offer
from protocols.quality import PPM

MAX_REGIONS = 256  # of one peer: the largest ones; more would let one peer make every query of ours slow
_HALVINGS = 24  # of [-1, 1]: far below what a float32 cosine is exact to


class Shelves(msgspec.Struct, frozen=True, eq=False):
    """The regions of every known peer: `means` (k, dim), `records` and `spread` (k,), and whose they are (k,)."""

    peers: tuple[PeerId, ...]
    means: Vectors
    records: NDArray[np.float64]
    spread: NDArray[np.float64]
    owner: NDArray[np.intp]

    def usual(self, query: Vectors) -> float:
        """The mean cosine of all peers' records with a query: what a record scores that has nothing to do with it."""
        return float(self.records @ (self.means @ query) / max(self.records.sum(), 1e-9))


def shelve(offers: Iterable[tuple[PeerId, Offer]], dim: int) -> Shelves:
    """The peers' offers as regions of `dim` dimensions; data offered twice by a peer counts once."""
    by_peer: dict[PeerId, dict[bytes, Offer]] = {}
    for peer, offer in offers:
        if all(len(centroid.vector) == dim for centroid in offer.sketch):
            by_peer.setdefault(peer, {})[offer.root] = offer
    rows: list[tuple[float, float, int]] = []
    means: list[Vectors] = []
    for index, held in enumerate(by_peer.values()):
        regions = [(c.weight * offer.records / PPM, c) for offer in held.values() for c in offer.sketch]
        for records, centroid in sorted(regions, key=lambda region: -region[0])[:MAX_REGIONS]:
            focus = centroid.focus / PPM
            means.append(dequantise(centroid.vector) * np.float32(focus))
            rows.append((records, ((1 - focus**2) / (2 * dim)) ** 0.5, index))
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return Shelves(
        peers=tuple(by_peer),
        means=np.stack(means).astype(np.float32) if means else np.zeros((0, dim), np.float32),
        records=table[:, 0],
        spread=np.maximum(table[:, 1], 1e-4),
        owner=table[:, 2].astype(np.intp),
    )


def expected_hits(
    query: Vectors, shelves: Shelves, wanted: int, known: Sequence[float] = (), asked: Iterable[PeerId] = ()
) -> dict[PeerId, float]:
    """How many of the `wanted` best hits each peer not yet asked probably adds to those at hand (scores `known`)."""
    done = {index for index, peer in enumerate(shelves.peers) if peer in set(asked)}
    open_ = ~np.isin(shelves.owner, list(done))
    middle, spread = shelves.means[open_] @ query, shelves.spread[open_]
    records, owner = shelves.records[open_], shelves.owner[open_]
    scores = np.asarray(known, dtype=np.float64)

    def above(t: float) -> NDArray[np.float64]:
        found: NDArray[np.float64] = records * _tail((t - middle) / spread)
        return found

    low, high = -1.0, 1.0
    for _ in range(_HALVINGS):
        t = (low + high) / 2
        low, high = (t, high) if above(t).sum() + (scores > t).sum() > wanted else (low, t)
    hits = np.bincount(owner, weights=above(high), minlength=len(shelves.peers))
    return {peer: float(hits[index]) for index, peer in enumerate(shelves.peers) if index not in done}


def choose(expected: Mapping[PeerId, float], trust: Mapping[PeerId, float], *, most: int, least: float) -> list[PeerId]:
    """At most `most` peers worth asking, best first: those who are expected to add `least` hits, by what they kept of
    their promises so far.
    """
    worth = {peer: hits * trust.get(peer, 1.0) for peer, hits in expected.items()}
    return [peer for peer in sorted(worth, key=lambda peer: -worth[peer]) if worth[peer] >= least][:most]


def _tail(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(Z > z) of a standard normal: Abramowitz and Stegun 26.2.17, off by less than 7.5e-8."""
    k = 1 / (1 + 0.2316419 * np.abs(z))
    series = k * (0.319381530 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429))))
    upper = np.exp(-0.5 * np.square(np.minimum(np.abs(z), 38.0))) / np.sqrt(2 * np.pi) * series
    found: NDArray[np.float64] = np.where(z >= 0, upper, 1 - upper)
    return found
