"""From wants to a profile: what a buyer gets to see. Pure but for the dice.

    distinct wants ── parts of FLOOR wants or more ── the mean of each, with noise ── int8

A centroid of one want is that want, so FLOOR distinct wants at least stand behind each; one that has to do with no
other disappears in the mean of its part, and of fewer than FLOOR altogether nothing is told.

The noise is that of `node.market.noise` on the mean: if one of n wants were another at distance d, the mean would lie
d / n away, so noise of epsilon · n on the mean keeps the promise of epsilon for each want. The promise covers the
directions, not the counts, nor which wants were put together; who buys several editions gets the sum of their epsilons.
`python -m tests.bench.profiles` shows what it costs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import numpy as np

from node.market.noise import noisy
from node.market.search.regions import partition
from node.market.search.sketch import Vectors, quantise
from protocols.profile.messages import Want
from protocols.quality import PPM

FLOOR = 5  # wants behind a centroid; offices of statistics publish no cell of fewer than three to ten persons
MOST = 16  # centroids, as in an offer's sketch
MOST_LENGTH = 1_000_000_000  # ppm, as the message has it
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
    parts = sorted(partition(vectors, MOST, FLOOR), key=lambda rows: (-len(rows), int(rows[0])))
    return [_centroid(vectors[rows], [distinct[i] for i in rows], epsilon, dice) for rows in parts]


def _distinct(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Asked twice in the same words is one want; of its prices the highest counts."""
    found: dict[bytes, Wanted] = {}
    for one in wanted:
        key = quantise(one.vector)
        known = found.get(key)
        if known is None or (known.max_price_wei or -1) < (one.max_price_wei or -1):
            found[key] = one
    return list(found.values())


def _centroid(vectors: Vectors, wanted: Sequence[Wanted], epsilon: int, dice: random.Random) -> Want:
    mean = noisy(vectors.mean(axis=0), float(epsilon * len(vectors)), dice)
    return Want(
        vector=quantise(mean),
        wants=len(vectors),
        length=min(MOST_LENGTH, max(1, int(np.linalg.norm(mean) * PPM))),
        max_price_wei=str(usual_price([one.max_price_wei for one in wanted if one.max_price_wei is not None])),
    )


def usual_price(prices_wei: Sequence[int]) -> int:
    """The lower median, cut to DIGITS digits; 0 of none."""
    if not prices_wei:
        return 0
    middle = sorted(prices_wei)[(len(prices_wei) - 1) // 2]
    step = int(10 ** max(0, len(str(middle)) - DIGITS))
    return middle // step * step
