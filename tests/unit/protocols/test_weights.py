"""The split by dataset: the contract's rules and numbers, computed without it.

The chain says the same in tests/integration/test_split_chain.py; the vector is in contracts/test/ModelRegistry.t.sol.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import RuleBroken
from protocols.inference.weights import (
    FLOOR_PPM,
    MAX_OWN_PPM,
    OWN,
    WHOLE_PPM,
    Pair,
    WeightsTree,
    by_facts,
    check,
    fact,
    floors,
    lift,
)

FACTS = {1: fact(100, 800_000), 2: fact(200, 800_000), 3: fact(700, 800_000)}
SPLIT = [(0, 100_000), (1, 200_000), (2, 300_000), (3, 400_000)]


def test_the_vector_of_the_contracts_own_test():
    root = WeightsTree(SPLIT).root.hex()
    assert root == "bc36ffbe722870adab3cdaaebc438e3e3819c1a7b5e8d37e8f75b03f2733120c"
    assert by_facts(SPLIT, FACTS) == [(0, 50_000), (1, 95_000), (2, 190_000), (3, 665_000)]


def test_a_fact_is_never_nothing():
    assert fact(100, 0) == 100
    assert fact(100, 3) == 300


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([], "1 to 256"),
        ([(n, 1) for n in range(257)], "1 to 256"),
        ([(1, 500_000), (1, 500_000)], "ascend"),
        ([(2, 500_000), (1, 500_000)], "ascend"),
        ([(1, 999_999)], "do not sum"),
        ([(1, WHOLE_PPM + 1)], "do not sum"),
        ([(0, -1), (1, WHOLE_PPM + 1)], "do not sum"),
        ([(0, 500_001), (1, 499_999)], "own unregistered data"),
        ([(1, 24_999), (2, 50_000), (3, 925_001)], "dataset 1 has 24999"),
        ([(1, 400_000), (2, 425_001), (3, 174_999)], "dataset 3 has 174999"),
        ([(0, 400_000), (1, 14_999), (2, 30_000), (3, 555_001)], "dataset 1"),
    ],
)
def test_weights_that_break_a_rule(weights, words):
    with pytest.raises(RuleBroken, match=words):
        check(weights, FACTS)


def test_weights_at_the_edge_of_the_rules():
    check([(OWN, WHOLE_PPM)], {})
    check([(0, 500_000), (1, 100_000), (2, 100_000), (3, 300_000)], FACTS)
    check([(1, 25_000), (2, 50_000), (3, 925_000)], FACTS)
    check([(0, 400_000), (1, 15_000), (2, 30_000), (3, 555_000)], FACTS)
    check([(1, 0), (2, WHOLE_PPM)])  # without facts nobody knows the floor


@st.composite
def wanted(draw: st.DrawFn) -> tuple[list[Pair], dict[int, int]]:
    """Any weights that sum to a million, and any facts a registry can hold."""
    datasets = sorted(draw(st.sets(st.integers(0, 2**63), min_size=1, max_size=12)))
    parts = [draw(st.integers(0, 1_000)) for _ in datasets]
    parts[draw(st.integers(0, len(parts) - 1))] += 1
    weights = [WHOLE_PPM * part // sum(parts) for part in parts]
    weights[-1] += WHOLE_PPM - sum(weights)
    records, quality = st.integers(1, 2**32 - 1), st.integers(0, WHOLE_PPM)
    facts = {dataset: fact(draw(records), draw(quality)) for dataset in datasets}
    return list(zip(datasets, weights, strict=True)), facts


@given(wanted())
def test_lifted_weights_keep_every_rule(case):
    weights, facts = case
    lifted = lift(weights, facts)
    check(lifted, facts)
    assert [dataset for dataset, _ in lifted] == [dataset for dataset, _ in weights]
    if weights[0][0] == OWN and len(weights) > 1:
        assert lifted[0][1] == min(weights[0][1], MAX_OWN_PPM)


def test_lifting_takes_from_those_who_have_more():
    assert lift(SPLIT, FACTS)[0] == (0, 100_000)
    lifted = dict(lift([(1, 0), (2, 500_000), (3, 500_000)], FACTS))
    assert lifted[1] == 25_000
    assert lifted[2] + lifted[3] == 975_000
    assert lifted[2] > lifted[3] - 250_000


@given(wanted())
def test_ruled_weights_are_whole_and_follow_the_facts(case):
    weights, facts = case
    ruled = by_facts(weights, facts)
    assert sum(weight for _, weight in ruled) == WHOLE_PPM
    own = weights[0][1] // 2 if weights[0][0] == OWN and len(weights) > 1 else 0
    total = sum(value for dataset, value in facts.items() if dataset != OWN)
    for dataset, weight in ruled:
        if dataset == OWN:
            assert weight in (own, WHOLE_PPM)
        else:
            assert abs(weight - (WHOLE_PPM - own) * facts[dataset] / total) <= 1


@given(wanted())
def test_the_facts_themselves_lie_above_the_floor(case):
    weights, facts = case
    datasets = [dataset for dataset, _ in weights]
    if datasets == [OWN]:
        return
    ruled = by_facts(weights, facts)
    own = ruled[0][1] if datasets[0] == OWN else 0
    least = floors(datasets, own, facts)
    assert sum(least) <= FLOOR_PPM
    assert all(weight + 1 >= low for (_, weight), low in zip(ruled, least, strict=True))
