from __future__ import annotations

from itertools import permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.models.attribution import WHOLE_PPM, knn_shapley, label_values, retrieval_values, shares
from protocols.ids import checksum
from tests.unit.models.corpora import corpus

ALICE, BOB, CAROL = (checksum(bytes([n]) * 20) for n in (1, 2, 3))


def utility(members: list[int], scores: np.ndarray, match: np.ndarray, k: int) -> float:
    nearest = sorted(members, key=lambda row: -scores[row])[:k]
    return float(sum(match[row] for row in nearest)) / k


def by_permutations(scores: np.ndarray, match: np.ndarray, k: int) -> np.ndarray:
    """The definition: the mean marginal utility over all orders of arrival."""
    count = len(scores)
    values = np.zeros(count)
    for order in permutations(range(count)):
        for at, row in enumerate(order):
            before, after = list(order[:at]), list(order[: at + 1])
            values[row] += utility(after, scores, match, k) - utility(before, scores, match, k)
    return values / factorial(count)


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_the_closed_form_is_the_shapley_value(k):
    rng = np.random.default_rng(k)
    scores, match = rng.random((3, 6)), rng.random((3, 6))
    expected = np.mean([by_permutations(scores[row], match[row], k) for row in range(3)], axis=0)
    assert knn_shapley(scores, match, k) == pytest.approx(expected)


def test_values_sum_to_the_utility_of_all():
    rng = np.random.default_rng(4)
    scores, match = rng.random((700, 90)), rng.random((700, 90))
    whole = np.mean([utility(list(range(90)), s, m, 5) for s, m in zip(scores, match, strict=True)])
    assert knn_shapley(scores, match).sum() == pytest.approx(whole)


def test_wrong_labels_are_worth_less():
    found = corpus(300)
    rng = np.random.default_rng(0)
    train, judged = found.take(range(200)), found.take(range(200, 300))
    flipped = rng.permutation(200)[:40]
    bad = list(train.examples)
    for row in flipped:
        bad[row] = bad[(row + 1) % 200].__class__(id=bad[row].id, title="", text="", label="no such class")
    values = label_values(type(train)(examples=tuple(bad), documents=train.documents), judged)
    assert values[flipped].max() <= 0 < np.delete(values, flipped).mean()


def test_texts_unlike_anything_asked_for_are_worth_less():
    found = corpus(300)
    train, judged = found.take(range(200)), found.take(range(200, 300))
    junk = train.documents.copy()
    junk[:40] = -judged.documents.mean(axis=0)
    values = retrieval_values(type(train)(examples=train.examples, documents=junk, queries=train.queries), judged)
    assert values[:40].mean() < values[40:].mean()


def test_weights_are_whole_and_the_builder_keeps_his_own():
    found = shares([(0, ""), (0, ""), (1, BOB), (2, CAROL)], np.array([1.0, 1.0, 2.0, 0.0]), ALICE)
    assert [(share.dataset, share.address) for share in found] == [(0, ALICE), (1, BOB), (2, CAROL)]
    weights = {share.address: share.weight_ppm for share in found}
    assert weights == {ALICE: 450_000 + 50_000, BOB: 450_000 + 25_000, CAROL: 25_000}


def test_a_negative_owner_costs_nobody_else():
    found = {
        s.address: s.weight_ppm for s in shares([(0, ""), (1, BOB), (2, CAROL)], np.array([1.0, -9.0, 1.0]), ALICE)
    }
    assert found[ALICE] == found[CAROL]
    assert 33_000 <= found[BOB] <= 33_334


def test_without_any_worth_the_count_decides():
    found = {s.address: s.weight_ppm for s in shares([(0, ALICE), (1, BOB), (1, BOB), (1, BOB)], -np.ones(4), ALICE)}
    assert found == {ALICE: 250_000, BOB: 750_000}


@given(
    st.lists(
        st.tuples(st.sampled_from([(0, ""), (1, BOB), (2, CAROL), (3, CAROL)]), st.floats(-10, 10)),
        min_size=1,
        max_size=60,
    )
)
def test_weights_always_sum_to_a_million(rows):
    found = shares([origin for origin, _ in rows], np.array([value for _, value in rows]), ALICE)
    assert sum(share.weight_ppm for share in found) == WHOLE_PPM
    assert all(share.weight_ppm >= 0 for share in found)
    assert sum(share.records for share in found) == len(rows)
