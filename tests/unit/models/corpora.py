"""Small made-up corpora whose structure is known: every document lies near its title, under a common direction that
hides it.
"""

from __future__ import annotations

import hashlib

import numpy as np

from node.models.examples import Corpus, Example
from protocols.ids import RecordId

DIM = 24
CLASSES = ("coat", "dress", "jeans")


def example(number: int, **changes: str | int) -> Example:
    words = hashlib.sha256(f"words {number}".encode()).hexdigest()
    fields = {
        "id": RecordId(hashlib.sha256(f"record {number}".encode()).hexdigest()),
        "title": f"title {number}",
        "text": " ".join(words[at : at + 4] for at in range(0, 64, 4)),
    }
    return Example(**(fields | changes))  # type: ignore[arg-type]


def _dataset(owner: str, owners: tuple[str, ...]) -> int:
    """One registered dataset a foreign owner, 0 for the builder's records."""
    return 1 + owners.index(owner) if owner else 0


def corpus(count: int, *, seed: int = 1, owners: tuple[str, ...] = ("",), noise: float = 0.6) -> Corpus:
    """Titles and texts share a meaning; class and an anisotropic common part are added on top."""
    rng = np.random.default_rng(seed)
    meaning = rng.normal(size=(count, DIM))
    labels = rng.integers(0, len(CLASSES), count)
    meaning[:, : len(CLASSES)] = np.eye(len(CLASSES))[labels] * 3
    spread = np.linspace(0.2, 4.0, DIM)
    common = np.full(DIM, 5.0)

    def side(offset: np.ndarray) -> np.ndarray:
        raw = (meaning + noise * rng.normal(size=(count, DIM))) + rng.normal(size=(count, DIM)) * spread * 0.4 + offset
        return raw / np.linalg.norm(raw, axis=1, keepdims=True)

    return Corpus(
        examples=tuple(
            example(
                number,
                label=CLASSES[label],
                owner=(owner := owners[number % len(owners)]),
                dataset=_dataset(owner, owners),
            )
            for number, label in enumerate(labels)
        ),
        documents=side(common),
        queries=side(common[::-1] * np.linspace(1, -1, DIM)),
    )
