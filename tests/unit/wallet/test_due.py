"""When a lane is settled: for its worth, for its age, and before what stands behind it can leave."""

from __future__ import annotations

import msgspec
import pytest

from contracts.bindings.bank import Delegate, Lane
from node.journal.vouchers import Taking
from node.wallet.cover import END_MARGIN_S, Snapshot
from node.wallet.settle import LEAVING_MARGIN_S, SKEW_S, Policy, collectable, is_due
from tests.unit.wallet.conftest import HOT, LANE, NOW, PAYEE

PAYER = "0x4444444444444444444444444444444444444444"
KEY = (str(PAYEE), LANE)
DELAY_S = 86_400
HELD = Taking(PAYER, PAYEE, LANE, 100, 0, b"", PAYER, NOW, NOW)
STANDS = Snapshot(
    free_wei=1_000, exiting_wei=0, exit_at=0, lanes={KEY: Lane(0, 0, 0)}, delegate=None, block=1, read_at=0.0
)
POLICY = Policy(above_wei=10_000, every_s=10**6, gas_multiple=20, coin_price_wei=1)


def due(
    held: Taking = HELD, stands: Snapshot = STANDS, policy: Policy = POLICY, now: int = NOW, cost_wei: int = 0
) -> bool:
    return is_due([(held, stands)], policy, now, exit_delay_s=DELAY_S, cost_wei=cost_wei)


def change(row: msgspec.Struct, **fields: object) -> object:
    return msgspec.structs.replace(row, **fields)


def test_worth_is_the_floor_and_a_multiple_of_the_gas() -> None:
    floor = Policy(above_wei=100, every_s=10**6)
    assert due(policy=floor)
    assert not due(policy=Policy(above_wei=101, every_s=10**6))
    assert due(policy=floor, cost_wei=5)
    assert not due(policy=floor, cost_wei=6)  # 20 × 6 > 100


def test_age_settles_what_brings_more_than_it_costs() -> None:
    old = NOW + POLICY.every_s
    assert not due(now=old - 1)
    assert due(now=old, cost_wei=99)
    assert not due(now=old, cost_wei=100)


def test_an_exit_announced_after_the_voucher_came_is_due_at_once_and_counts_once() -> None:
    leaves = change(STANDS, exiting_wei=1, exit_at=NOW + 10 + DELAY_S)
    assert due(stands=leaves, now=NOW + 10)  # type: ignore[arg-type]
    later = change(HELD, since=NOW + 10 + SKEW_S + 1)
    assert not due(later, leaves, now=NOW + 200)  # type: ignore[arg-type]
    assert not due(stands=leaves, now=NOW + 10, cost_wei=100)  # type: ignore[arg-type]  # it would cost what it brings


@pytest.mark.parametrize("margin", [LEAVING_MARGIN_S, END_MARGIN_S])
def test_the_end_of_a_reserve_or_a_hot_key_is_met_twice(margin: int) -> None:
    end = NOW + 100_000
    reserve = change(STANDS, lanes={KEY: Lane(0, 100, end)})
    hot = change(STANDS, delegate=Delegate(end, 1_000, 0), signer=HOT)
    by_hot_key = change(HELD, signer=HOT)
    for held, stands in ((HELD, reserve), (by_hot_key, hot)):
        taken = change(held, since=end - margin - 1)  # type: ignore[arg-type]
        assert not due(taken, stands, now=end - margin - 1)  # type: ignore[arg-type]
        assert due(taken, stands, now=end - margin)  # type: ignore[arg-type]
        after = change(held, since=end - margin)  # type: ignore[arg-type]
        assert not due(after, stands, now=end - margin + 1)  # type: ignore[arg-type]


def test_a_released_or_empty_reserve_makes_nobody_settle() -> None:
    assert not due(stands=change(STANDS, lanes={KEY: Lane(0, 0, NOW + 10)}), now=NOW + 9)  # type: ignore[arg-type]


def test_collectable_is_what_the_bank_would_pay_now() -> None:
    def brings(held: object = HELD, stands: object = STANDS) -> int:
        return collectable(held, stands, NOW)  # type: ignore[arg-type]

    assert brings() == 100
    assert brings(stands=change(STANDS, free_wei=30)) == 30
    assert brings(stands=change(STANDS, free_wei=30, exiting_wei=30, exit_at=NOW - 1)) == 30  # not fetched yet
    assert brings(stands=change(STANDS, free_wei=30, lanes={KEY: Lane(50, 15, NOW - 1)})) == 45
    by_hot_key = change(HELD, signer=HOT)
    for delegate, amount in ((Delegate(NOW + 1, 60, 20), 40), (Delegate(NOW, 60, 0), 0), (None, 0)):
        assert brings(by_hot_key, change(STANDS, delegate=delegate)) == amount
    assert brings(change(HELD, signer="")) == 100
