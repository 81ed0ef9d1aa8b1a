"""The gas that the contracts promise: whole transactions, the first of its kind and every later one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contracts.anvil import find_anvil, start_anvil
from contracts.params import DeployParams
from tests.bench.money.bank import Bank
from tests.bench.money.sales import Sales
from tests.bench.money.table import PEERS, Table
from tests.support.suite import Suite

pytestmark = pytest.mark.skipif(find_anvil() is None, reason="no anvil: run `make npm`")

GOALS = {
    "= fair sale, key in private": 130_000,
    "= fair sale, all on chain": 180_000,
}
MARGINAL_VOUCHER = 20_000


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    with start_anvil() as anvil:
        suite, table = Suite(anvil, DeployParams()), Table()
        Sales(suite, table).measure()
        Bank(suite, table).measure()
        yield table


@pytest.mark.parametrize("step", GOALS)
def test_a_fair_sale_costs_the_first_buyer_what_it_costs_the_later_ones(table: Table, step: str) -> None:
    first, again = table.rows[step]
    assert first is not None
    assert again is not None
    assert max(first, again) < GOALS[step]
    # calldata has more or fewer zero bytes; the first sale in a bucket of time moves the buckets of held shares
    assert abs(first - again) < 400


def test_one_more_voucher_in_a_batch_stays_below_its_goal(table: Table) -> None:
    again = table.rows["= marginal voucher"][1]
    assert again is not None
    assert again <= MARGINAL_VOUCHER


def test_every_peer_stands_beside_a_step_of_ours(table: Table) -> None:
    assert {step for _, _, step in PEERS} <= set(table.rows)
    assert table.beside().count("\n") == len(PEERS)
