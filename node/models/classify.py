"""A multinomial logistic-regression head on frozen embeddings, in numpy.

Vectors are centred on the training mean and scaled by one number (the root mean square length that is left):
embeddings of one domain lie in a narrow cone, and without this the penalty would mostly hold the common direction
down. Minimised by accelerated gradient descent with the known Lipschitz bound of the softmax loss (½·λmax(XᵀX)/n, rows
weighted), so there is no step to tune.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from node.models.errors import TooLittleData
from node.models.examples import Corpus
from node.models.split import folds

MIN_EXAMPLES = 40
MIN_PER_CLASS = 8  # a class with fewer training examples is not offered
MAX_CLASSES = 64
FOLDS = 4
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
ITERATIONS = 300


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """probabilities = softmax(((x − mean) / scale) W + bias), columns in the order of `classes`."""

    classes: tuple[str, ...]
    settings: dict[str, float]
    mean: np.ndarray
    scale: float
    weight: np.ndarray
    bias: np.ndarray

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """(n, dim) embeddings to (n, classes) probabilities."""
        return _softmax(((vectors - self.mean) / self.scale) @ self.weight + self.bias)

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """(n, dim) embeddings to class names."""
        names: np.ndarray = np.array(self.classes, dtype=object)[self.probabilities(vectors).argmax(axis=1)]
        return names


def usable_classes(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels with enough examples, most frequent first, at most MAX_CLASSES; ties by name."""
    counts = Counter(label for label in labels if label)
    frequent = [label for label, count in counts.items() if count >= MIN_PER_CLASS]
    return tuple(sorted(sorted(frequent), key=lambda label: -counts[label])[:MAX_CLASSES])


def train(corpus: Corpus) -> tuple[Head, dict[str, float]]:
    """The head with the penalty that cross-validation on `corpus` (the training part) prefers, and all their
    accuracies.
    """
    classes = usable_classes([example.label for example in corpus.examples])
    rows = [row for row, example in enumerate(corpus.examples) if example.label in classes]
    if len(classes) < 2 or len(rows) < MIN_EXAMPLES:
        raise TooLittleData(
            f"{len(rows)} labelled records in {len(classes)} classes of {MIN_PER_CLASS} or more: "
            f"{MIN_EXAMPLES} records and 2 classes are needed"
        )
    kept = corpus.take(rows)
    truth = [example.label for example in kept.examples]
    scores = {f"penalty {value:g}": _validate(kept, truth, classes, value) for value in PENALTIES}
    best = max(PENALTIES, key=lambda value: scores[f"penalty {value:g}"])
    return fit(kept.documents, truth, classes, best, kept.weights), scores


def fit(
    vectors: np.ndarray, labels: Sequence[str], classes: tuple[str, ...], penalty: float, weights: np.ndarray
) -> Head:
    """Minimise mean cross-entropy, by how much each example counts, + penalty/2·‖W‖²; the bias is free."""
    mean = vectors.mean(axis=0)
    scale = float(np.sqrt(np.square(vectors - mean).sum(axis=1).mean())) or 1.0
    inputs = np.hstack([(vectors - mean) / scale, np.ones((len(vectors), 1))])
    truth = np.eye(len(classes))[[classes.index(label) for label in labels]]
    held = np.full((inputs.shape[1], 1), penalty)
    held[-1] = 0.0
    shares = (weights / weights.sum())[:, None]
    step = 1.0 / (float(np.linalg.norm(inputs * np.sqrt(shares), 2)) ** 2 / 2 + penalty)
    found = _minimise(inputs, truth, shares, held, step)
    return Head(
        classes=classes,
        settings={"penalty": penalty},
        mean=mean,
        scale=scale,
        weight=found[:-1],
        bias=found[-1],
    )


def _minimise(inputs: np.ndarray, truth: np.ndarray, shares: np.ndarray, held: np.ndarray, step: float) -> np.ndarray:
    point = ahead = np.zeros((inputs.shape[1], truth.shape[1]))
    pace = 1.0
    for _ in range(ITERATIONS):  # Nesterov 1983, in the form of FISTA
        slope = inputs.T @ (shares * (_softmax(inputs @ ahead) - truth)) + held * ahead
        moved = ahead - step * slope
        faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        ahead = moved + (pace - 1) / faster * (moved - point)
        point, pace = moved, faster
    return point


def _softmax(scores: np.ndarray) -> np.ndarray:
    shifted: np.ndarray = np.exp(scores - scores.max(axis=1, keepdims=True))
    shifted /= shifted.sum(axis=1, keepdims=True)
    return shifted


def _validate(corpus: Corpus, truth: list[str], classes: tuple[str, ...], penalty: float) -> float:
    hits = total = 0
    for rows, check in folds(corpus.examples, FOLDS):
        if not rows or not check:
            continue
        head = fit(corpus.documents[rows], [truth[row] for row in rows], classes, penalty, corpus.weights[rows])
        hits += int((head.predict(corpus.documents[check]) == np.array([truth[row] for row in check])).sum())
        total += len(check)
    return hits / max(total, 1)
