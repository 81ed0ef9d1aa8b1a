"""Where every offer lies in meaning: one mean vector an offer, to find the few worth a closer look among all of them.

A catalogue of 100,000 offers has more than a million centroids, too many to compare with each query. The mean of an
offer's records (its centroids by weight and focus) orders them well enough to choose candidates, which are then ranked
by their nearest centroid. Means are float32, 1.5 kB of 384 dimensions: a small part of what an offer takes in memory,
and one product compares them all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node.market.sketch import Vectors, dequantise
from protocols.offers.offer import Centroid
from protocols.quality import PPM

START = 256


def mean_of(sketch: list[Centroid]) -> Vectors:
    """The mean of the records' unit vectors, as far as the sketch says."""
    parts = [dequantise(c.vector) * np.float32(c.weight / PPM * c.focus / PPM) for c in sketch]
    return np.asarray(np.sum(parts, axis=0), np.float32)


class Atlas:
    """Mean vectors of one embedding space by key; rows of removed keys are taken by the last one."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._rows: dict[str, int] = {}
        self._keys: list[str] = []
        self._means: Vectors = np.zeros((START, dim), np.float32)
        self._groups: NDArray[np.int32] = np.zeros(START, np.int32)
        self._names: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: str, mean: Vectors, group: str) -> None:
        """Place a new key in a group (its domain)."""
        row = len(self._keys)
        if row == len(self._means):
            self._means = np.concatenate([self._means, np.zeros_like(self._means)])
            self._groups = np.concatenate([self._groups, np.zeros_like(self._groups)])
        self._means[row] = mean
        self._groups[row] = self._names.setdefault(group, len(self._names))
        self._rows[key] = row
        self._keys.append(key)

    def remove(self, key: str) -> None:
        """Take a key out; an unknown one is none."""
        row = self._rows.pop(key, None)
        if row is None:
            return
        last = self._keys.pop()
        if last != key:
            end = len(self._keys)
            self._means[row], self._groups[row] = self._means[end], self._groups[end]
            self._rows[last] = row
            self._keys[row] = last

    def nearest(self, query: Vectors, count: int, group: str | None = None) -> list[str]:
        """The `count` keys of a group (None: of all) whose means lie nearest to a query, best first."""
        used = len(self._keys)
        scores = self._means[:used] @ query
        if group is not None:
            scores[self._groups[:used] != self._names.get(group, -1)] = -np.inf
        best = np.argpartition(-scores, count)[:count] if count < used else np.arange(used)
        best = best[np.argsort(-scores[best], kind="stable")]
        return [self._keys[row] for row in best if scores[row] > -np.inf]
