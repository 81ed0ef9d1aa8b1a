"""The semantic sketch: what a set of records is about, in a few kilobytes.

A centroid stands for a dozen records at least, where there are so many. It travels as a direction in int8 and the
length its mean had (`focus`), which says how closely the records stand around it. Deterministic: the same vectors give
the same sketch, so a buyer can compare a claim with what he received. `outline` says more to who asks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node.market.search.regions import partition
from protocols.offers.offer import Centroid
from protocols.quality import PPM

Vectors = NDArray[np.float32]  # (n, dim), rows of unit length

# 16 centroids of 384 dimensions are 6 kB, an eighth of what an item may have, and every node of a domain carries them.
# What more detail finds for how many bytes is in `python -m tests.bench.search`; who wants it asks for an outline.
MAX_SKETCH = 16
RECORDS_A_CENTROID = 12  # fewer records than this do not support a direction of their own, and would be told apart


def quantise(vector: Vectors) -> bytes:
    """A direction as int8 components, the largest of them ±127."""
    largest = max(float(np.abs(vector).max()), 1e-9)
    return bytes(np.rint(vector * (127 / largest)).astype(np.int8).tobytes())


def dequantise(data: bytes) -> Vectors:
    """int8 components back to a unit vector; a zero vector stays zero."""
    vector = np.frombuffer(data, dtype=np.int8).astype(np.float32)
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def sketch(vectors: Vectors) -> list[Centroid]:
    """The centroids of (n, dim) unit vectors, heaviest first; n must be at least 1."""
    parts = sorted(partition(vectors, MAX_SKETCH, RECORDS_A_CENTROID), key=lambda rows: -len(rows))
    means = [vectors[rows].mean(axis=0) for rows in parts]
    return [
        Centroid(
            vector=quantise(mean),
            weight=len(rows) * PPM // len(vectors),
            focus=min(PPM, int(np.linalg.norm(mean) * PPM)),
        )
        for rows, mean in zip(parts, means, strict=True)
    ]


def closeness(vector: Vectors, centroids: list[Centroid]) -> float:
    """How near a query is to the nearest centroid: a cosine. −1 when the dimensions differ."""
    if any(len(c.vector) != len(vector) for c in centroids):
        return -1.0
    rows = np.frombuffer(b"".join(c.vector for c in centroids), np.int8).reshape(-1, len(vector)).astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return float((rows @ vector / np.maximum(lengths, 1e-9)).max())


def closeness_of_many(vector: Vectors, sketches: list[bytes]) -> list[float]:
    """`closeness` of many sketches, each the joined vectors of its centroids; −1 for those of no such dimension."""
    dim = len(vector)
    fitting = [one for one in sketches if one and len(one) % dim == 0]
    if not fitting:
        return [-1.0] * len(sketches)
    rows = np.frombuffer(b"".join(fitting), np.int8).reshape(-1, dim).astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    cosines = rows @ vector / np.maximum(lengths, 1e-9)
    starts = np.cumsum([0, *(len(one) // dim for one in fitting[:-1])])
    best = iter(np.maximum.reduceat(cosines, starts).tolist())
    return [next(best) if one and len(one) % dim == 0 else -1.0 for one in sketches]
