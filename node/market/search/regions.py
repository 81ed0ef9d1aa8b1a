"""What a set of records is about, in parts: regions of embedding space, none of which stands for fewer than a floor.

The set is halved along the line between two far-apart records, the widest part first, until there are as many parts as
wanted or none can be halved without one half falling below the floor. So no centroid is the vector of a single record,
which spherical k-means makes of every outlier; what routing loses by it is in `python -m tests.bench.search`.
Deterministic: the same vectors give the same parts.
"""

from __future__ import annotations

import heapq

import msgspec
import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]  # (n, dim), rows of unit length
Rows = NDArray[np.intp]

SAMPLE = 2_048  # rows that decide where a large part is halved
ROUNDS = 8  # of moving the two ends to the means of their halves
ITERATIONS = 16  # towards the main axes; half as many find half a hit of a hundred less
AXES_SAMPLE = 128  # rows that decide the axes of a large region


class Shape(msgspec.Struct, frozen=True, eq=False):
    """The first two moments of some records: `mean` (dim,), `axes` (k, dim) along which they differ most, each as long
    as the standard deviation along it.
    """

    mean: Vectors
    axes: Vectors


def partition(vectors: Vectors, most: int, least: int) -> list[Rows]:
    """The rows of (n, dim) unit vectors in at most `most` parts of at least `least` rows (or in one)."""
    done: list[Rows] = []
    waiting = [_entry(vectors, np.arange(len(vectors)))]
    while waiting and len(done) + len(waiting) < most:
        *_, rows = heapq.heappop(waiting)
        if len(rows) < 2 * least:
            done.append(rows)
            continue
        side = _halves(vectors[rows], least)
        for half in (rows[side], rows[~side]):
            heapq.heappush(waiting, _entry(vectors, half))
    return done + [rows for *_, rows in waiting]


def shape_of(vectors: Vectors, axes: int) -> Shape:
    """Mean and at most `axes` principal axes of (n, dim) rows."""
    mean = vectors.mean(axis=0)
    about = vectors[:: max(1, len(vectors) // AXES_SAMPLE)] - mean
    if not axes or len(about) < 2:
        return Shape(mean, np.zeros((0, vectors.shape[1]), np.float32))
    weights = _main_weights(np.einsum("id,jd->ij", about, about, dtype=np.float64), min(axes, len(about)))
    return Shape(mean, np.asarray(np.einsum("nk,nd->kd", weights, about) / np.sqrt(len(about)), np.float32))


def _main_weights(products: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """An orthonormal basis (n, count) of nearly the main subspace of (n, n) products, by subspace iteration.

    Without LAPACK and BLAS: on matrices so small their threads only spin, for minutes on a busy machine.
    """
    basis = products[:, np.argsort(-np.diag(products), kind="stable")[:count]]
    for _ in range(ITERATIONS):
        basis = _orthonormal(np.einsum("ij,jk->ik", products, basis))
    return basis


def _orthonormal(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gram and Schmidt's; a column that depends on those before it becomes zero."""
    found = np.zeros_like(columns)
    for k in range(columns.shape[1]):
        rest, length = columns[:, k], float(np.sqrt(np.square(columns[:, k]).sum()))
        for _ in range(2):  # the second time takes out what rounding left
            rest = rest - np.einsum("nk,k->n", found[:, :k], np.einsum("nk,n->k", found[:, :k], rest))
        left = float(np.sqrt(np.square(rest).sum()))
        if left > 1e-9 * max(length, 1e-30):
            found[:, k] = rest / left
    return found


def _entry(vectors: Vectors, rows: Rows) -> tuple[float, int, Rows]:
    """The widest part first: by the sum of squared distances to its mean."""
    mean = vectors[rows].mean(axis=0)
    return -len(rows) * (1 - float(mean @ mean)), int(rows[0]), rows


def _halves(vectors: Vectors, least: int) -> NDArray[np.bool_]:
    """Which rows belong to the first half; each half has at least `least`."""
    sample = vectors[:: max(1, len(vectors) // SAMPLE)]
    one = sample[int(np.argmin(_along(sample, sample.mean(axis=0))))]
    other = sample[int(np.argmin(_along(sample, one)))]
    for _ in range(ROUNDS):
        side = _along(sample, one - other) > 0
        if side.all() or not side.any():
            break
        one, other = _direction(sample[side]), _direction(sample[~side])
    along = _along(vectors, one - other)
    count = min(max(int((along > 0).sum()), least), len(vectors) - least)
    first = np.zeros(len(vectors), bool)
    first[np.argsort(-along, kind="stable")[:count]] = True
    return first


def _along(vectors: Vectors, direction: Vectors) -> Vectors:
    """The product, without BLAS: see `_main_weights`."""
    return np.asarray(np.einsum("nd,d->n", vectors, direction), np.float32)


def _direction(vectors: Vectors) -> Vectors:
    mean = vectors.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)
