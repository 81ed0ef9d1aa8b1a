"""An offer's outline: made by its owner, read by who searches. Pure.

Where a sketch says that some records lie around a direction, an outline says of smaller regions also how they are
stretched. What an asker finds depends on how many vectors he is told and hardly on what they are: regions of 16 records
with their mean and 8 axes serve better than means of 4 records, and hide each record among four times as many. A mean
and axes are the same for every rotation of the records about their mean; of a region's n records at most n / 2 axes
are told. `python -m tests.bench.search` shows what detail is worth.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from node.market.catalog.atlas import mean_of
from node.market.search.regions import Vectors, partition, shape_of
from node.market.search.sketch import dequantise, quantise
from protocols.errors import RuleBroken
from protocols.offers.offer import Offer
from protocols.quality import PPM
from protocols.search.outline import Axis, Region

AXES = 8  # of a region
REGIONS = 128  # of one offer
OUTLINE_BYTES = 256 << 10  # once for every offer and asker: little beside a payload
ROUNDED = 0.001  # of a region's variance, in parts per million on the wire
FRAME_BYTES = 12  # around a vector, at most
MEANS_DIFFER = 0.05  # between sketch and outline of the same records: quantised directions differ by a fifth of it


class Outline(msgspec.Struct, frozen=True, eq=False):
    """Regions as arrays: `means` (k, dim), `records` (k,), `rest` (k,), the variance that no axis explains; `axes`
    (a, dim), as long as the standard deviation along them, and `region` (a,), to which each of them belongs.
    """

    means: Vectors
    records: NDArray[np.float64]
    rest: NDArray[np.float64]
    axes: Vectors
    region: NDArray[np.intp]


def outline(vectors: Vectors, least: int, *, most: int = REGIONS, axes: int = AXES) -> list[Region]:
    """The regions of (n, dim) unit vectors, each of at least `least` of them (or one of all)."""
    most = min(most, max(1, OUTLINE_BYTES // ((1 + axes) * (vectors.shape[1] + FRAME_BYTES))))
    return [_region(vectors[rows], axes) for rows in partition(vectors, most, least)]


def read(regions: Sequence[Region], offer: Offer) -> Outline:
    """The regions of an offer as arrays. Raises RuleBroken when they contradict the signed offer."""
    dim = len(offer.sketch[0].vector)
    if not regions or any(len(one.vector) != dim or any(len(a.vector) != dim for a in one.axes) for one in regions):
        raise RuleBroken(f"an outline of vectors that have not {dim} components")
    records = np.array([one.records for one in regions], np.float64)
    focus = np.array([one.focus for one in regions], np.float64) / PPM
    means = np.stack([dequantise(one.vector) for one in regions]) * focus[:, None].astype(np.float32)
    spread = [axis.spread / PPM for one in regions for axis in one.axes]
    axes = [dequantise(axis.vector) * np.float32(axis.spread / PPM) for one in regions for axis in one.axes]
    region = np.repeat(np.arange(len(regions)), [len(one.axes) for one in regions])
    explained = np.bincount(region, weights=np.square(spread), minlength=len(regions))
    if (explained > 1 - focus**2 + ROUNDED).any():
        raise RuleBroken("an outline of records that differ by more than unit vectors can")
    told = (records / records.sum()) @ means
    if float(np.linalg.norm(told - mean_of(offer.sketch))) > MEANS_DIFFER:
        raise RuleBroken("an outline of other records than the offer's sketch")
    return Outline(
        means=means,
        records=records * (offer.records / records.sum()),
        rest=np.maximum(1 - focus**2 - explained, 0.0),
        axes=np.stack(axes) if axes else np.zeros((0, dim), np.float32),
        region=region,
    )


def _region(vectors: Vectors, axes: int) -> Region:
    shape = shape_of(vectors, min(axes, len(vectors) // 2))
    return Region(
        records=len(vectors),
        vector=quantise(shape.mean),
        focus=_ppm(shape.mean),
        axes=[Axis(vector=quantise(axis), spread=_ppm(axis)) for axis in shape.axes],
    )


def _ppm(vector: Vectors) -> int:
    return min(PPM, int(np.linalg.norm(vector) * PPM))
