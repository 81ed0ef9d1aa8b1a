"""Held-out metrics and how sure one may be of them.

Retrieval: query *i* has one judged document, row *i* of the same pool. nDCG@10 of one relevant document at rank r
(from 0) is 1/log2(r+2) when r < 10, else 0 (Järvelin & Kekäläinen 2002). Confidence comes from the bootstrap over
queries; the gain's interval is of the *paired* differences, which is much narrower than two intervals side by side.
"""

from __future__ import annotations

import msgspec
import numpy as np

CUTOFF = 10
RESAMPLES = 2_000
BOOTSTRAP_SEED = 20_011  # fixed: an interval is the same each time it is printed
CHUNK_QUERIES = 512


class Interval(msgspec.Struct, frozen=True):
    """A mean and its central 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """One metric on the held-out part, before and after; `extra` has the other metrics as (before, after)."""

    metric: str
    held_out: int
    before: Interval
    after: Interval
    gain: Interval
    extra: dict[str, tuple[float, float]]

    @property
    def better(self) -> bool:
        """Whether the gain is real: the whole 95 % interval of the paired differences lies above zero."""
        return self.gain.low > 0


def ranks(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Rank from 0 of document i for query i. A tie counts against the query, so equal vectors earn nothing."""
    found = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), CHUNK_QUERIES):
        scores = queries[start : start + CHUNK_QUERIES] @ documents.T
        own = np.arange(start, start + len(scores))
        mine = scores[np.arange(len(scores)), own]
        found[own] = (scores >= mine[:, None]).sum(axis=1) - 1
    return found


def ndcg(found: np.ndarray) -> np.ndarray:
    """nDCG@10 of each query."""
    gains: np.ndarray = np.zeros(len(found))
    gains[found < CUTOFF] = 1.0 / np.log2(found[found < CUTOFF] + 2.0)
    return gains


def recall(found: np.ndarray) -> np.ndarray:
    """Recall@10 of each query: 1 when its document is among the first ten."""
    return (found < CUTOFF).astype(np.float64)


def accuracy(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """1 where the class is right, else 0."""
    hits: np.ndarray = (predicted == truth).astype(np.float64)
    return hits


def macro_f1(predicted: np.ndarray, truth: np.ndarray) -> float:
    """The mean F1 over the classes that occur in `truth`."""
    scores = []
    for label in np.unique(truth):
        hit = int(((predicted == label) & (truth == label)).sum())
        wrong = int(((predicted == label) != (truth == label)).sum())
        scores.append(2 * hit / (2 * hit + wrong))
    return float(np.mean(scores)) if scores else 0.0


def bootstrap(values: np.ndarray) -> Interval:
    """Mean and 95 % percentile interval over items."""
    if not len(values):
        raise ValueError("nothing was held out: there is nothing to judge on")
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def judge_retrieval(before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]) -> Evaluation:
    """Two (queries, documents) embeddings of the same held-out items against each other."""
    old, new = ranks(*before), ranks(*after)
    return Evaluation(
        metric="ndcg@10",
        held_out=len(old),
        before=bootstrap(ndcg(old)),
        after=bootstrap(ndcg(new)),
        gain=bootstrap(ndcg(new) - ndcg(old)),
        extra={"recall@10": (float(recall(old).mean()), float(recall(new).mean()))},
    )


def judge_classes(before: np.ndarray, after: np.ndarray, truth: np.ndarray) -> Evaluation:
    """Two predictions of the same held-out items' classes against each other."""
    old, new = accuracy(before, truth), accuracy(after, truth)
    return Evaluation(
        metric="accuracy",
        held_out=len(truth),
        before=bootstrap(old),
        after=bootstrap(new),
        gain=bootstrap(new - old),
        extra={"macro_f1": (macro_f1(before, truth), macro_f1(after, truth))},
    )
