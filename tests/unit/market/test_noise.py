from __future__ import annotations

import random

import numpy as np
import pytest

from node.market.noise import perturb

DIM = 384


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def test_no_epsilon_no_noise() -> None:
    vector = unit(1)
    assert perturb(vector, 0.0, random.Random(1)) is vector


@pytest.mark.parametrize("epsilon", [300.0, 1_000.0, 4_000.0])
def test_the_noise_has_the_length_that_the_mechanism_says(epsilon: float) -> None:
    vector, dice = unit(1), random.Random(2)
    cosines = [float(perturb(vector, epsilon, dice) @ vector) for _ in range(200)]
    length = DIM / epsilon  # noise is at right angles to the vector, nearly
    assert np.mean(cosines) == pytest.approx(1 / np.sqrt(1 + length**2), abs=0.02)
    assert all(np.linalg.norm(perturb(vector, epsilon, dice)) == pytest.approx(1, abs=1e-5) for _ in range(5))


def test_the_same_want_is_never_published_alike() -> None:
    dice = random.SystemRandom()
    assert float(perturb(unit(1), 500.0, dice) @ perturb(unit(1), 500.0, dice)) < 0.9
