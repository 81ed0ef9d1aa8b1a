from __future__ import annotations

from itertools import permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.models.attribution import (
    Share,
    fact_shares,
    knn_shapley,
    label_values,
    retrieval_values,
    shares,
    weigh,
)
from protocols.ids import checksum
from protocols.inference.weights import FLOOR_PPM, MAX_OWN_PPM, WHOLE_PPM
from tests.unit.models.corpora import corpus, example

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


def parts(*rows: tuple[int, int, float]) -> tuple[Share, ...]:
    """(dataset, records, value) as the trainer leaves them."""
    examples = [example(n, dataset=number) for n, (number, count, _) in enumerate(rows) for _ in range(count)]
    values = np.array([value / count for _, count, value in rows for _ in range(count)])
    return shares(examples, values, ALICE)


def weights(found: tuple[Share, ...]) -> dict[int, int]:
    return {share.dataset: share.weight_ppm for share in found}


def test_a_share_is_a_dataset_and_the_builders_own_is_dataset_0():
    examples = [example(n, dataset=number, owner=owner) for n, (number, owner) in enumerate(
        [(9, CAROL), (0, ""), (4, BOB), (9, CAROL), (5, BOB)])]  # fmt: skip
    found = shares(examples, np.ones(5), ALICE)
    assert [(share.dataset, share.address, share.records) for share in found] == [
        (0, ALICE, 1), (4, BOB, 1), (5, BOB, 1), (9, CAROL, 2),
    ]  # fmt: skip


def test_a_quarter_goes_by_facts_and_the_rest_by_value():
    found = weigh(parts((1, 1, 3.0), (2, 1, 1.0)), {1: 10, 2: 30})
    assert weights(found) == {1: 62_500 + 562_500, 2: 187_500 + 187_500}


def test_own_records_get_what_they_are_worth_and_never_above_the_cap():
    assert weights(weigh(parts((0, 5, 1.0), (1, 5, 3.0)), {1: 1}))[0] == 250_000
    assert weights(weigh(parts((0, 5, 9.0), (1, 5, 1.0)), {1: 1})) == {0: 500_000, 1: 500_000}
    assert weights(weigh(parts((0, 5, 9.0), (1, 5, 1.0)), {1: 1}, own_ppm=100_000)) == {0: 100_000, 1: 900_000}
    assert weights(weigh(parts((0, 5, 9.0)), {})) == {0: WHOLE_PPM}, "alone he takes all"


def test_a_negative_dataset_costs_nobody_else_and_keeps_its_floor():
    found = weights(weigh(parts((1, 1, 1.0), (2, 1, -9.0), (3, 1, 1.0)), {1: 1, 2: 1, 3: 1}))
    assert found[1] == found[3]
    assert found[2] == 83_334


def test_without_any_worth_the_facts_decide():
    assert weights(weigh(parts((1, 1, -1.0), (2, 1, -1.0)), {1: 25, 2: 75})) == {1: 250_000, 2: 750_000}
    assert weights(weigh(parts((1, 1, -1.0), (2, 3, -1.0)), {1: 0, 2: 0})) == {1: 250_000, 2: 750_000}


rows = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4), st.floats(-10, 10)), min_size=1, max_size=12)


@given(rows, st.lists(st.integers(0, 2**56), min_size=10, max_size=10), st.integers(0, MAX_OWN_PPM))
def test_weights_sum_to_a_million_and_keep_the_contracts_floor(given_rows, sizes, own_ppm):
    drafts = parts(*given_rows)
    facts = dict(enumerate(sizes))
    found = weigh(drafts, facts, own_ppm)
    assert sum(share.weight_ppm for share in found) == WHOLE_PPM
    assert sum(share.records for share in found) == sum(count for _, count, _ in given_rows)
    others = [share for share in found if share.dataset]
    total = sum(facts[share.dataset] for share in others)
    rest = sum(share.weight_ppm for share in others)
    for share in others:
        assert share.weight_ppm * total * WHOLE_PPM >= FLOOR_PPM * facts[share.dataset] * rest
    if others and len(found) > len(others):
        assert WHOLE_PPM - rest <= own_ppm
    assert all(share <= rest for share in fact_shares(facts, weights(found)).values())


def test_the_fact_share_is_of_what_is_not_the_publishers():
    assert fact_shares({1: 10, 2: 30}, {0: 200_000, 1: 700_000, 2: 100_000}) == {1: 200_000, 2: 600_000}
    assert fact_shares({1: 0}, {1: WHOLE_PPM}) == {1: 0}
