"""Whose records made the model good: exact KNN-Shapley, and from it whole-number weights per contributor.

Values are those of Jia et al. 2019 ("Efficient task-specific data valuation for nearest neighbor algorithms", theorem
1): for one judged item, sort the training records from nearest to farthest; with match m_i of the i-th,

    s_N = m_N · min(K, N) / (K · N),      s_i = s_(i+1) + (m_i − m_(i+1)) / K · min(K, i) / i

which is the exact Shapley value of the utility "mean match of the K nearest", because that utility adds up over
neighbours. The match is free to choose: equality of labels for a classifier; for retrieval, how near the record's own
text lies to the text that was asked for (cosine in the adapted space, at least 0).

Weights (parts per million, they sum to exactly 1,000,000):

- values are summed per dataset, then clipped at 0: junk costs its owner what it took from the model, nobody else;
- FLOOR_PPM of the weight follows the plain count of records, so that nobody whose data was used is left with nothing
  when the judged items happen to lie elsewhere; all of it does when no value is above 0;
- the builder's own records, which no dataset holds, are dataset 0 and count for the builder; what he earns for the work
  is the publisher's share, which is not in here.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from node.models.examples import Corpus
from protocols.ids import Address

NEIGHBOURS = 5
WHOLE_PPM = 1_000_000
FLOOR_PPM = 100_000
CHUNK = 256


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One dataset: whose it is, how many of its records trained the model, what they were worth to it, its weight."""

    dataset: int
    address: Address
    records: int
    value: float
    weight_ppm: int


def knn_shapley(scores: np.ndarray, match: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Shapley values of N training records: `scores` nearness and `match` utility, both (judged, N). Sums to the
    utility.
    """
    judged, count = scores.shape
    values = np.zeros(count)
    rank = np.arange(1, count + 1)
    for start in range(0, judged, CHUNK):
        order = np.argsort(-scores[start : start + CHUNK], axis=1, kind="stable")
        sorted_match = np.take_along_axis(match[start : start + CHUNK], order, axis=1).astype(np.float64)
        gains = np.empty_like(sorted_match)
        gains[:, -1] = sorted_match[:, -1] * min(neighbours, count) / (neighbours * count)
        steps = (
            (sorted_match[:, :-1] - sorted_match[:, 1:]) / neighbours * np.minimum(neighbours, rank[:-1]) / rank[:-1]
        )
        gains[:, :-1] = gains[:, -1:] + np.cumsum(steps[:, ::-1], axis=1)[:, ::-1]
        np.add.at(values, order.ravel(), gains.ravel())
    values /= max(judged, 1)
    return values


def label_values(train: Corpus, judged: Corpus) -> np.ndarray:
    """Values of the training records of a classifier."""
    match = np.array([e.label for e in judged.examples])[:, None] == np.array([e.label for e in train.examples])[None]
    return knn_shapley(judged.documents @ train.documents.T, match)


def retrieval_values(train: Corpus, judged: Corpus) -> np.ndarray:
    """Values of the training pairs of a retriever; both corpora in the adapted space."""
    assert train.queries is not None
    assert judged.queries is not None
    match = np.clip(judged.documents @ train.documents.T, 0.0, 1.0)
    return knn_shapley(judged.queries @ train.queries.T, match)


def shares(origins: Sequence[tuple[int, str]], values: np.ndarray, builder: Address) -> tuple[Share, ...]:
    """Whole-number weights by dataset, ascending; the position is the leaf's index. An origin is a record's dataset and
    its owner; dataset 0 and owner "" are the builder's own.
    """
    records: dict[int, int] = {}
    worth: dict[int, float] = {}
    owners = {dataset: owner if dataset and owner else builder for dataset, owner in origins}
    for (dataset, _), value in zip(origins, values, strict=True):
        records[dataset] = records.get(dataset, 0) + 1
        worth[dataset] = worth.get(dataset, 0.0) + float(value)
    names = sorted(records)
    counted = np.array([records[name] for name in names], dtype=np.float64)
    earned = np.array([max(0.0, round(worth[name], 9)) for name in names])  # rounded: the last bits differ by CPU
    mixed = _fractions(earned, counted) * (WHOLE_PPM - FLOOR_PPM) / WHOLE_PPM
    mixed += counted / counted.sum() * FLOOR_PPM / WHOLE_PPM
    return tuple(
        Share(
            dataset=name,
            address=Address(owners[name]),
            records=records[name],
            value=round(worth[name], 9),
            weight_ppm=weight,
        )
        for name, weight in zip(names, _whole(mixed), strict=True)
    )


def _fractions(earned: np.ndarray, counted: np.ndarray) -> np.ndarray:
    basis = earned if earned.sum() > 0 else counted
    parts: np.ndarray = basis / basis.sum()
    return parts


def _whole(parts: np.ndarray) -> list[int]:
    """Fractions to parts per million by largest remainder; ties go to the lower index."""
    exact = parts * WHOLE_PPM
    floors = np.floor(exact).astype(np.int64)
    missing = WHOLE_PPM - int(floors.sum())
    for index in np.argsort(-(exact - floors), kind="stable")[:missing]:
        floors[index] += 1
    return [int(value) for value in floors]
