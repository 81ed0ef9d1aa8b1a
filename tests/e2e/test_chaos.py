"""Power cuts at any moment: in the middle of a deal, of a start, of both nodes at once. Slow: `make test-slow`."""

from __future__ import annotations

import random
import time

import pytest

from tests.bench import kills
from tests.e2e.stall import BUYER, NAMES, SELLER, Purse, Stall
from tests.support.cluster import Cluster, wait_for

pytestmark = [pytest.mark.chain, pytest.mark.e2e, pytest.mark.slow]

ROUNDS = 40
CUTS = 40  # of the busy town; two hundred are a benchmark: python -m tests.bench.kills
A_DEAL_S = 0.6  # an undisturbed one takes about 0.4 s
A_START_S = 1.5
VICTIMS = ([BUYER], [SELLER], [BUYER, SELLER])


@pytest.fixture(scope="module")
def stall(cluster: Cluster) -> Stall:
    return Stall(cluster, [f"chaos-{n}" for n in range(ROUNDS)], seed=2)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_deal_ends_well_whenever_the_power_goes(stall: Stall, number: int) -> None:
    dice, lot = random.Random(number), f"chaos-{number}"
    stall.whole()
    purse = stall.purse(lot)
    stall.buy(lot)
    victims = list(dice.choice(VICTIMS))
    time.sleep(dice.uniform(0, A_DEAL_S))
    for name in victims:
        stall.cluster.kill(name)
    if dice.random() < 0.5:  # and again while they start
        for name in victims:
            stall.cluster.start(name, ready=False)
        time.sleep(dice.uniform(0, A_START_S))
        for name in victims:
            stall.cluster.kill(name)
    dice.shuffle(victims)
    for name in victims:
        stall.cluster.start(name)
    ends_well(stall, lot, purse)


def ends_well(stall: Stall, lot: str, purse: Purse) -> None:
    """Paid and delivered once; or refused, and then nothing was ever locked."""
    wait_for(lambda: stall.deal(lot)["over"], f"the end of {lot}", 60)
    if stall.deal(lot)["state"] == "refused":
        stall.assert_unpaid(lot, purse, locked=0)
    else:
        stall.assert_paid(lot, purse)


def test_nobody_is_left_waiting(stall: Stall) -> None:
    stall.whole()
    for name in NAMES:
        deals = stall.cluster.client(name).call("deals.list", limit=1_000)["items"]
        assert [deal for deal in deals if not deal["over"]] == []


def test_a_busy_town_comes_to_rest_whole() -> None:
    seed = random.randrange(2**31)
    print(f"seed {seed}")
    row = kills.run(CUTS, seed)
    assert row["kills"] >= CUTS
    assert row["paid"] > 0
    assert row["calls"] > 0
