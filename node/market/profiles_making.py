"""From wants to a profile: what a buyer gets to see. Pure but for the dice.

    distinct wants ── spherical k-means ── centroids of FLOOR wants or more ── noise on each mean ── int8

A centroid of one want is that want, so what fewer than FLOOR distinct wants stand behind is left out. The noise is that
of `node.market.noise` on the mean: if one of n wants were another at distance d, the mean would lie d / n away, so
noise of epsilon · n on the mean keeps the promise of epsilon for each want. The promise covers the directions, not the
counts, nor which wants were put together; who buys several editions gets the sum of their epsilons.
`python -m tests.bench.profiles` shows what it costs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from node.market.noise import perturb
from node.market.sketch import Vectors, group, quantise
from protocols.profile.messages import Want
from protocols.quality import PPM

FLOOR = 5  # wants behind a centroid; offices of statistics publish no cell of fewer than three to ten persons
MOST = 16  # centroids, as in an offer's sketch
WANTS_A_CENTROID = 2 * FLOOR  # of fewer, k-means makes mostly groups that must be left out
DIGITS = 2  # of a price: a rare exact one would name the demand it was taken from


class Wanted(msgspec.Struct, frozen=True, eq=False):
    """One want: a unit vector (dim,) and the most its owner would pay; None when he did not say."""

    vector: Vectors
    max_price_wei: int | None = None


def summarise(wanted: Sequence[Wanted], epsilon: int, dice: random.Random) -> list[Want]:
    """The centroids of the distinct wants, the heaviest first; none when there are fewer than FLOOR."""
    distinct = _distinct(wanted)
    if len(distinct) < FLOOR:
        return []
    vectors = np.stack([one.vector for one in distinct])
    groups = sorted(_groups(vectors), key=lambda members: (-len(members), int(members[0])))
    return [_centroid(vectors[members], [distinct[i] for i in members], epsilon, dice) for members in groups]


def _distinct(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Asked twice in the same words is one want; of its prices the highest counts."""
    found: dict[bytes, Wanted] = {}
    for one in wanted:
        key = quantise(one.vector)
        known = found.get(key)
        if known is None or (known.max_price_wei or -1) < (one.max_price_wei or -1):
            found[key] = one
    return list(found.values())


def _groups(vectors: Vectors) -> list[NDArray[np.intp]]:
    """The rows by group; those in groups below FLOOR are taken out until none is left."""
    rows = np.arange(len(vectors))
    while len(rows) >= FLOOR:
        _, nearest = group(vectors[rows], max(1, min(MOST, len(rows) // WANTS_A_CENTROID)))
        sizes = np.bincount(nearest)
        if not (small := (sizes > 0) & (sizes < FLOOR)).any():
            return [rows[nearest == one] for one in np.flatnonzero(sizes)]
        rows = rows[~small[nearest]]
    return []


def _centroid(vectors: Vectors, wanted: Sequence[Wanted], epsilon: int, dice: random.Random) -> Want:
    mean = vectors.mean(axis=0)
    return Want(
        vector=quantise(perturb(mean, float(epsilon * len(vectors)), dice)),
        wants=len(vectors),
        focus=0 if epsilon else int(min(1.0, float(np.linalg.norm(mean))) * PPM),
        max_price_wei=str(usual_price([one.max_price_wei for one in wanted if one.max_price_wei is not None])),
    )


def usual_price(prices_wei: Sequence[int]) -> int:
    """The lower median, cut to DIGITS digits; 0 of none."""
    if not prices_wei:
        return 0
    middle = sorted(prices_wei)[(len(prices_wei) - 1) // 2]
    step = int(10 ** max(0, len(str(middle)) - DIGITS))
    return middle // step * step
