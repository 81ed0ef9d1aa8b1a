"""Whose records made the model good: exact KNN-Shapley, and from it whole-number weights per dataset.

Values are those of Jia et al. 2019 ("Efficient task-specific data valuation for nearest neighbor algorithms", theorem
1): for one judged item, sort the training records from nearest to farthest; with match m_i of the i-th,

    s_N = m_N · min(K, N) / (K · N),      s_i = s_(i+1) + (m_i − m_(i+1)) / K · min(K, i) / i

which is the exact Shapley value of the utility "mean match of the K nearest", because that utility adds up over
neighbours. The match is free to choose: equality of labels for a classifier; for retrieval, how near the record's own
text lies to the text that was asked for (cosine in the adapted space, at least 0).

Weights (parts per million, whole, they sum to exactly 1,000,000) are per dataset, dataset 0 being the builder's own
unregistered records:

- values are summed per dataset, then clipped at 0: junk costs its owner what it took from the model, and nobody else;
- the builder's own records get what their value says, at most `own_ppm` beside datasets of others: nobody but him has
  seen them, so their worth is his word, and `ModelRegistry` takes no more than a half;
- of the rest FLOOR_PPM follows what the registry says of each dataset (records × quality), so that nobody whose data
  was used is left with nothing when the judged items happen to lie elsewhere; all of it does when no value is above 0.
  The contract checks that floor: a publisher who reports other weights than his training's cannot go below it;
- what the builder earns for the work is the publisher's share, which is not in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from node.models.examples import Corpus, Example
from protocols.ids import Address
from protocols.inference.weights import FLOOR_PPM, MAX_OWN_PPM, OWN, WHOLE_PPM

NEIGHBOURS = 5
CHUNK = 256


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One dataset (0: the builder's own records), whose it is, how many of its records trained the model, what they
    were worth to it, its weight.
    """

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


def shares(examples: Sequence[Example], values: np.ndarray, builder: Address) -> tuple[Share, ...]:
    """Who has part in a model, by dataset, ascending. The weights are those of equal quality: a draft until the
    registry's facts are known (`weigh`).
    """
    records: dict[int, int] = {}
    worth: dict[int, float] = {}
    owners: dict[int, Address] = {}
    for example, value in zip(examples, values, strict=True):
        number = example.dataset
        owners.setdefault(number, Address(example.owner or builder))
        records[number] = records.get(number, 0) + 1
        worth[number] = worth.get(number, 0.0) + float(value)
    drafts = [
        Share(dataset=number, address=owners[number], records=records[number], value=round(worth[number], 9),
              weight_ppm=0)  # rounded: the last bits differ by CPU
        for number in sorted(records)
    ]  # fmt: skip
    return weigh(drafts, records)


def weigh(parts: Sequence[Share], facts: Mapping[int, int], own_ppm: int = MAX_OWN_PPM) -> tuple[Share, ...]:
    """The same shares with their final weights, by what the registry says of each dataset (records × quality)."""
    others = [part for part in parts if part.dataset != OWN]
    own = next((part for part in parts if part.dataset == OWN), None)
    own_weight = _own_weight(own, others, own_ppm) if own else 0
    weights = dict(zip((part.dataset for part in others), _divide(others, facts, WHOLE_PPM - own_weight), strict=True))
    return tuple(
        msgspec.structs.replace(part, weight_ppm=weights.get(part.dataset, own_weight))
        for part in sorted(parts, key=lambda part: part.dataset)
    )


def fact_shares(facts: Mapping[int, int], weights: Mapping[int, int]) -> dict[int, int]:
    """Each registered dataset's part (ppm) of what is not the publisher's own, by facts alone: what a contributor
    compares his weight with, whatever the publisher says of his training.
    """
    rest = WHOLE_PPM - weights.get(OWN, 0)
    total = sum(facts[number] for number in weights if number != OWN)
    return {number: rest * facts[number] // total if total else 0 for number in weights if number != OWN}


def _own_weight(own: Share, others: Sequence[Share], own_ppm: int) -> int:
    if not others:
        return WHOLE_PPM
    earned = [max(0.0, part.value) for part in (own, *others)]
    basis = earned if sum(earned) > 0 else [float(part.records) for part in (own, *others)]
    return min(own_ppm, round(WHOLE_PPM * basis[0] / sum(basis)))


def _divide(others: Sequence[Share], facts: Mapping[int, int], rest: int) -> list[int]:
    """`rest` among datasets: each gets its floor, rounded up, and what is left goes by value."""
    if not others:
        return []
    known = [facts[part.dataset] for part in others]
    counted = known if sum(known) > 0 else [part.records for part in others]
    floors = [-(-rest * FLOOR_PPM * fact // (WHOLE_PPM * sum(known))) if sum(known) else 0 for fact in known]
    earned = [max(0.0, part.value) for part in others]
    left = _whole(earned if sum(earned) > 0 else counted, rest - sum(floors))
    return [floor + more for floor, more in zip(floors, left, strict=True)]


def _whole(basis: Sequence[float], total: int) -> list[int]:
    """`total` in whole parts by largest remainder; ties go to the lower index."""
    exact = np.array(basis, dtype=np.float64) / sum(basis) * total
    floors = np.floor(exact).astype(np.int64)
    missing = total - int(floors.sum())
    for index in np.argsort(-(exact - floors), kind="stable")[:missing]:
        floors[index] += 1
    return [int(value) for value in floors]
