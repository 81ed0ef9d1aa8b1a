"""Noise for published vectors: the want goes out, less of its wording does.

Metric differential privacy for the Euclidean distance (Feyisetan et al., WSDM 2020, section 2.3): noise with density
proportional to exp(-epsilon · length), which is a uniform direction and a Gamma(dim, 1 / epsilon) length. Whoever sees
the result can tell two wants at distance d apart by a factor of e^(epsilon · d) at most. The length is about
dim / epsilon: at 384 dimensions, epsilon below 400 drowns a unit vector. `python -m tests.bench.search` shows what
matching loses and what a guesser gains.
"""

from __future__ import annotations

import random

import numpy as np

from node.market.search.sketch import Vectors


def noisy(vector: Vectors, epsilon: float, dice: random.Random) -> Vectors:
    """A vector (dim,) of any length with noise on it. `dice` must not be predictable."""
    if not epsilon:
        return vector
    direction = np.array([dice.gauss(0, 1) for _ in vector])
    length = dice.gammavariate(len(vector), 1 / epsilon)
    return np.asarray(vector + direction * (length / np.linalg.norm(direction)), np.float32)


def added(dim: int, epsilon: float) -> float:
    """By how much noise makes the square of a vector's length longer, on average: the second moment of its length."""
    return dim * (dim + 1) / epsilon**2 if epsilon else 0.0


def perturb(vector: Vectors, epsilon: float, dice: random.Random) -> Vectors:
    """A unit vector near `vector` (dim,); 0 stands for no noise. `dice` must not be predictable."""
    if not epsilon:
        return vector
    moved = noisy(vector, epsilon, dice)
    return np.asarray(moved / np.linalg.norm(moved), np.float32)
