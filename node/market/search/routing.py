"""Which peers to ask: how many of the best hits each probably holds, by its offers' sketches and outlines. Pure.

A region (a centroid and the records around it, of a sketch or an outline) is taken as normal: the cosines of its
records with a query lie around focus · cos(query, centroid), since the mean of the records is the centroid times its
focus. Their variance is what the region's axes have along the query, and of the rest that no axis explains (all of it
in a sketch: 1 - focus²) the part 1 / (2 · dim). With t the score that the last of the wanted hits will have,

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

from node.market.search.outline import Outline
from node.market.search.sketch import Vectors, dequantise
from protocols.ids import PeerId
from protocols.offers.offer import Offer
from protocols.quality import PPM

NARROWEST = 1e-4  # of a region's spread: quantised directions are not more exact
MAX_REGIONS = 512  # of one peer: the largest ones; more would let one peer make every query of ours slow
_HALVINGS = 24  # of [-1, 1]: far below what a float32 cosine is exact to


class Shelves(msgspec.Struct, frozen=True, eq=False):
    """The regions of every known peer: `means` (k, dim), `records` and `rest` (k,), and whose they are (k,); their
    `axes` (a, dim) and of which region those are (a,).
    """

    peers: tuple[PeerId, ...]
    means: Vectors
    records: NDArray[np.float64]
    rest: NDArray[np.float64]
    owner: NDArray[np.intp]
    axes: Vectors
    region: NDArray[np.intp]

    def usual(self, query: Vectors) -> float:
        """The mean cosine of all peers' records with a query: what a record scores that has nothing to do with it."""
        return float((self.records * _along(self.means, query)).sum() / max(self.records.sum(), 1e-9))

    def spread(self, query: Vectors) -> NDArray[np.float64]:
        """The standard deviation of each region's cosines with a query."""
        along = np.square(_along(self.axes, query), dtype=np.float64)
        told = np.bincount(self.region, weights=along, minlength=len(self.records))
        found: NDArray[np.float64] = np.sqrt(told + self.rest / (2 * len(query)))
        return np.maximum(found, NARROWEST)


def shelve(offers: Iterable[tuple[PeerId, Offer, Outline | None]], dim: int) -> Shelves:
    """The peers' offers as regions of `dim` dimensions, by their outlines where those are known; data offered twice by
    a peer counts once.
    """
    by_peer: dict[PeerId, dict[bytes, Outline]] = {}
    for peer, offer, known in offers:
        if all(len(centroid.vector) == dim for centroid in offer.sketch):
            by_peer.setdefault(peer, {})[offer.root] = known or _of_sketch(offer)
    parts = [_largest(_joined(list(held.values()), dim), MAX_REGIONS) for held in by_peer.values()]
    whole = _joined(parts, dim)
    return Shelves(
        peers=tuple(by_peer),
        means=whole.means,
        records=whole.records,
        rest=whole.rest,
        owner=np.repeat(np.arange(len(parts)), [len(part.records) for part in parts]).astype(np.intp),
        axes=whole.axes,
        region=whole.region,
    )


def _of_sketch(offer: Offer) -> Outline:
    focus = np.array([centroid.focus for centroid in offer.sketch]) / PPM
    directions = np.stack([dequantise(centroid.vector) for centroid in offer.sketch])
    return Outline(
        means=directions * focus[:, None].astype(np.float32),
        records=np.array([centroid.weight for centroid in offer.sketch]) * (offer.records / PPM),
        rest=1 - focus**2,
        axes=np.zeros((0, directions.shape[1]), np.float32),
        region=np.zeros(0, np.intp),
    )


def _joined(parts: Sequence[Outline], dim: int) -> Outline:
    none = np.zeros(0)
    before = np.cumsum([0, *(len(part.records) for part in parts)])
    shifted = [part.region + at for part, at in zip(parts, before, strict=False)]
    return Outline(
        means=np.concatenate([np.zeros((0, dim), np.float32), *(part.means for part in parts)]),
        records=np.concatenate([none, *(part.records for part in parts)]),
        rest=np.concatenate([none, *(part.rest for part in parts)]),
        axes=np.concatenate([np.zeros((0, dim), np.float32), *(part.axes for part in parts)]),
        region=np.concatenate([none, *shifted]).astype(np.intp),
    )


def _largest(whole: Outline, count: int) -> Outline:
    if len(whole.records) <= count:
        return whole
    kept = np.argsort(-whole.records, kind="stable")[:count]
    place = np.full(len(whole.records), -1)
    place[kept] = np.arange(count)
    axes = place[whole.region] >= 0
    return Outline(
        means=whole.means[kept],
        records=whole.records[kept],
        rest=whole.rest[kept],
        axes=whole.axes[axes],
        region=place[whole.region[axes]],
    )


def expected_hits(
    query: Vectors, shelves: Shelves, wanted: int, known: Sequence[float] = (), asked: Iterable[PeerId] = ()
) -> dict[PeerId, float]:
    """How many of the `wanted` best hits each peer not yet asked probably adds to those at hand (scores `known`)."""
    done = {index for index, peer in enumerate(shelves.peers) if peer in set(asked)}
    open_ = ~np.isin(shelves.owner, list(done))
    middle, spread = _along(shelves.means, query)[open_], shelves.spread(query)[open_]
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
    # A sketch of one point promises all its records at once; more than are wanted nobody can add.
    return {peer: min(float(hits[index]), wanted) for index, peer in enumerate(shelves.peers) if index not in done}


def choose(expected: Mapping[PeerId, float], trust: Mapping[PeerId, float], *, most: int, least: float) -> list[PeerId]:
    """At most `most` peers worth asking, best first: those who are expected to add `least` hits, by what they kept of
    their promises so far.
    """
    worth = {peer: hits * trust.get(peer, 1.0) for peer, hits in expected.items()}
    return [peer for peer in sorted(worth, key=lambda peer: -worth[peer]) if worth[peer] >= least][:most]


def _along(vectors: Vectors, query: Vectors) -> NDArray[np.float64]:
    """The product. Not by BLAS: on a busy machine its threads wait for each other, 20 ms in place of 0.4."""
    return np.asarray(np.einsum("nd,d->n", vectors, query), np.float64)


def _tail(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(Z > z) of a standard normal: Abramowitz and Stegun 26.2.17, off by less than 7.5e-8."""
    k = 1 / (1 + 0.2316419 * np.abs(z))
    series = k * (0.319381530 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429))))
    upper = np.exp(-0.5 * np.square(np.minimum(np.abs(z), 38.0))) / np.sqrt(2 * np.pi) * series
    found: NDArray[np.float64] = np.where(z >= 0, upper, 1 - upper)
    return found
