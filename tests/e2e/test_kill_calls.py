"""`kill -9` at every step of the transactions of a deal, between real daemons: one deal, and a life for every step.

tests/e2e/test_kill.py kills at the states of the machines; here it is what lies between two of them: signed and not
sent, sent and not mined, mined and not written down, on both sides, honest, cheated, silent and gone. Slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from protocols.exchange.events import Call
from protocols.exchange.machine import Buyer, Seller
from tests.e2e.stall import BUYER, SELLER, Stall
from tests.e2e.test_kill import PAST_THE_RELEASE_S, PAST_THE_WINDOW_S, TO_THE_MARGIN_S, before
from tests.support.cluster import Cluster, PowerCut
from tests.support.killing import around, outbox

pytestmark = [pytest.mark.chain, pytest.mark.e2e, pytest.mark.slow]

LOCK = [*around("journal", "WalletService.spend"), *outbox(Call.LOCK)]
CONFIRM_MANY = [
    *around("journal", "Confirmations.form"),
    *outbox(Call.CONFIRM),
    *around("journal", "Confirmations.finish"),
]
CONFIRM, DELIVER, CLAIM, REFUND, DISPUTE, WITHDRAW, RECLAIM = (
    outbox(call)
    for call in (Call.CONFIRM, Call.DELIVER, Call.CLAIM, Call.REFUND, Call.DISPUTE, Call.WITHDRAW, Call.RECLAIM)
)
LOTS = [
    "calls-lock",
    "calls-confirm",
    "calls-silent-seller",
    "calls-silent-buyer",
    "calls-gone",
    "calls-both-gone",
    "calls-wrong-key",
    "calls-bought-before",
]
ALL = [*LOCK, *CONFIRM_MANY, *CONFIRM, *DELIVER, *CLAIM, *REFUND, *DISPUTE, *WITHDRAW, *RECLAIM]


@pytest.fixture(scope="module")
def opened(cluster: Cluster) -> Stall:
    return Stall(cluster, LOTS, seed=21)


@pytest.fixture
def stall(opened: Stall) -> Iterator[Stall]:
    opened.whole()
    yield opened
    for name in (SELLER, BUYER):
        opened.cluster.disarm(name)


def test_no_call_of_a_deal_is_forgotten() -> None:
    assert {cut.state.partition(":")[0] for cut in ALL if cut.side == "outbox"} == {call.value for call in Call}


def lives(stall: Stall, name: str, cuts: list[PowerCut], begin: Callable[[], None] | None = None) -> None:
    """One life after the other, each ended by its cut; the first by what `begin` does, if the node is there."""
    for cut in cuts:
        act = begin if begin is not None and cut is cuts[0] else lambda: stall.cluster.start(name, ready=False)
        stall.cluster.dies_of(name, cut, act)


def test_a_lock(stall: Stall) -> None:
    purse = stall.purse("calls-lock")
    lives(stall, BUYER, LOCK, lambda: stall.buy("calls-lock"))
    stall.cluster.start(BUYER)
    stall.assert_paid("calls-lock", purse)


def test_a_batch_of_confirmations(stall: Stall) -> None:
    purse = stall.purse("calls-confirm")
    lives(stall, SELLER, CONFIRM_MANY, lambda: stall.buy("calls-confirm"))
    stall.cluster.start(SELLER)
    stall.assert_paid("calls-confirm", purse)


def test_a_confirmation_that_its_buyer_sends_himself(stall: Stall) -> None:
    lot = "calls-silent-seller"
    purse = stall.purse(lot)
    stall.cluster.arm(SELLER, *before(Seller.CONFIRMED))
    stall.buy(lot)
    stall.cluster.died(SELLER)
    stall.until(lot, "confirming")
    lives(stall, BUYER, CONFIRM, lambda: stall.cluster.leap(TO_THE_MARGIN_S))
    stall.cluster.start(BUYER)
    stall.until(lot, "settled")
    stall.cluster.start(SELLER)
    stall.assert_paid(lot, purse)


def test_a_delivery_and_a_claim(stall: Stall) -> None:
    lot = "calls-silent-buyer"
    purse = stall.purse(lot)
    stall.cluster.arm(BUYER, *before(Buyer.LOCKED))
    stall.buy(lot)
    stall.cluster.died(BUYER)
    stall.until(lot, "locked", SELLER)
    lives(stall, SELLER, DELIVER, lambda: stall.cluster.leap(TO_THE_MARGIN_S))
    stall.cluster.start(SELLER)
    stall.until_delivered(lot)
    lives(stall, SELLER, CLAIM, lambda: stall.cluster.leap(PAST_THE_WINDOW_S))
    stall.cluster.start(SELLER)
    stall.until(lot, "paid", SELLER)
    stall.cluster.start(BUYER)
    stall.assert_paid(lot, purse)


def test_a_refund_and_a_withdrawal(stall: Stall) -> None:
    lot = "calls-gone"
    purse = stall.purse(lot)
    stall.cluster.arm(SELLER, *before(Seller.HANDED_OVER))
    stall.buy(lot)
    stall.cluster.died(SELLER)
    lives(stall, BUYER, [*REFUND, *WITHDRAW], lambda: stall.cluster.leap(PAST_THE_WINDOW_S))
    stall.cluster.start(BUYER)
    stall.until(lot, "refunded")
    stall.cluster.start(SELLER)
    stall.until(lot, "refunded", SELLER)
    stall.assert_unpaid(lot, purse)


def test_a_refund_by_the_seller(stall: Stall) -> None:
    lot = "calls-both-gone"
    purse = stall.purse(lot)
    stall.cluster.arm(BUYER, *before(Buyer.LOCKED))
    stall.cluster.arm(SELLER, *before(Seller.LOCKED))
    stall.buy(lot)
    for name in (BUYER, SELLER):
        stall.cluster.died(name)
    stall.cluster.leap(PAST_THE_WINDOW_S)
    stall.cluster.start(SELLER)
    stall.until(lot, "expired", SELLER)
    lives(stall, SELLER, REFUND, lambda: stall.cluster.leap(PAST_THE_RELEASE_S))
    stall.cluster.start(SELLER)
    stall.until(lot, "refunded", SELLER)
    stall.cluster.start(BUYER)
    stall.until(lot, "refunded")
    stall.assert_unpaid(lot, purse)


def test_a_dispute(stall: Stall) -> None:
    lot = "calls-wrong-key"
    purse, bond = stall.purse(lot), stall.bond(lot)
    stall.cluster.kill(SELLER)
    stall.cluster.start(SELLER, cheat="wrong-key")
    stall.buy(lot)
    stall.until(lot, "awaiting_refund")
    lives(stall, BUYER, [*DISPUTE, *WITHDRAW], lambda: stall.cluster.leap(TO_THE_MARGIN_S))
    stall.cluster.start(BUYER)
    stall.until(lot, "disputed")
    stall.until(lot, "disputed", SELLER)
    stall.assert_unpaid(lot, purse, gained_wei=bond // 2)
    stall.cluster.kill(SELLER)


def test_a_reclaim(stall: Stall) -> None:
    lot = "calls-bought-before"
    stall.buy(lot)
    stall.until(lot, "settled")
    purse, bond = stall.purse(lot), stall.bond(lot)
    stall.cluster.kill(SELLER)
    stall.cluster.start(SELLER, cheat="wrong-key")
    stall.buy(lot)
    stall.until_one(lot, "awaiting_refund")
    lives(stall, BUYER, RECLAIM, lambda: stall.cluster.leap(TO_THE_MARGIN_S))
    stall.cluster.start(BUYER)
    stall.until_one(lot, "reclaimed")
    stall.until_one(lot, "disputed")
    held = int(stall.cluster.view("sale", "heldShare", int(stall.offers[lot]["price_wei"])))
    assert stall.purse(lot).buyer_wei - purse.buyer_wei == held + bond // 2
    stall.assert_balanced()
    stall.cluster.kill(SELLER)
