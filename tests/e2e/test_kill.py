"""`kill -9` at every line that a deal writes into the journal, between real daemons: it ends as it would have.

The states come from the machine (`steps`), so a new one cannot be forgotten. A cut after a line means: the state is
written, nothing of it is done. A cut before a line means: what leads to the state is done, mined even, and nobody has
written it down. What is in between is the outbox's matter (tests/integration/test_wallet_kills.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from protocols.exchange.machine import Buyer, Seller, steps
from tests.e2e.stall import BUYER, SELLER, Stall
from tests.support.cluster import Cluster, PowerCut, wait_for

pytestmark = [pytest.mark.chain, pytest.mark.e2e]

B, S = Buyer, Seller

# config/networks/devnet.toml: a seller has 120 s of chain time to deliver, a buyer 120 s to dispute. The key is posted
# when a third of the first window is left, and an expired sale is given back an hour later (node/layers.py).
TO_THE_MARGIN_S = 85
PAST_THE_WINDOW_S = 125
PAST_THE_RELEASE_S = 3_700


def after(*states: Buyer | Seller) -> list[PowerCut]:
    """Cuts right after a state is journalled."""
    return [PowerCut("buyer" if isinstance(state, Buyer) else "seller", state.value) for state in states]


def before(*states: Buyer | Seller) -> list[PowerCut]:
    """Cuts right before a state is journalled."""
    return [PowerCut(cut.side, cut.state, before=True) for cut in after(*states)]


HONEST = [
    *after(B.CHOSEN, B.FETCHED, B.SAMPLED, B.LOCKING, B.LOCKED, B.KEYED, B.VERIFIED, B.CONFIRMING, B.SETTLED),
    *before(B.LOCKED, B.CONFIRMING, B.SETTLED),  # locked, imported, paid, and not yet written down
    *after(S.SEEN, S.HANDED_OVER, S.CONFIRMED, S.PAID),
    *before(S.SEEN, S.CONFIRMED, S.PAID),
]
QUICK = {cut.name for cut in [*after(B.LOCKING, B.VERIFIED, S.CONFIRMED), *before(B.LOCKED, S.PAID)]}
SELLER_SILENT = after(B.PAYING)
REFUSED = after(B.REFUSED)
SILENT_BUYER = [
    *after(S.LOCKED, S.POSTING),
    *before(S.DELIVERED),
    *after(S.DELIVERED, S.CLAIMING),
    *before(S.PAID),
]
SELLER_GONE = [*after(B.REFUNDING), *before(B.WITHDRAWING), *after(B.WITHDRAWING), *before(B.REFUNDED)]
REFUNDED = after(B.REFUNDED)
BOTH_GONE = [*after(S.EXPIRED, S.RELEASING), *before(S.REFUNDED), *after(S.REFUNDED)]
WRONG_KEY = [
    *after(B.AWAITING_REFUND, B.DISPUTING),
    *before(B.WITHDRAWING),
    *before(B.DISPUTED),
    *after(B.DISPUTED),
]
SELLER_AT_FAULT = after(S.DISPUTED)
TOO_LATE = after(B.LOST)
FALSE_CELL = [
    *after(B.DISPUTING),
    *before(B.WITHDRAWING),
    *after(B.WITHDRAWING),
    *before(B.DISPUTED),
    *after(B.DISPUTED),
]
FALSE_CELLS = [f"false-cell-{n}" for n in range(5)]  # a sample sees a third of them
BOUGHT_BEFORE = [*after(B.RECLAIMING), *before(B.RECLAIMED), *after(B.RECLAIMED)]
NEVER_HERE = {
    S.GONE: "only a reorganisation leads there, and this chain has none: tests/unit/protocols has the model",
    S.VOID: "follows on gone",
}
ALL = [
    *HONEST, *REFUSED, *SELLER_SILENT, *SILENT_BUYER, *SELLER_GONE, *REFUNDED, *BOTH_GONE, *WRONG_KEY,
    *SELLER_AT_FAULT, *FALSE_CELL, *BOUGHT_BEFORE, *TOO_LATE,
]  # fmt: skip
LOTS = [cut.name for cut in HONEST] + [
    "refused", "silent-seller", "silent", "gone", "both-gone", "wrong-key", "bought-before", "too-late",
]  # fmt: skip


@pytest.fixture(scope="module")
def opened(cluster: Cluster) -> Stall:
    return Stall(cluster, LOTS, later=FALSE_CELLS)


@pytest.fixture
def stall(opened: Stall) -> Iterator[Stall]:
    opened.whole()
    yield opened
    for name in (SELLER, BUYER):
        opened.cluster.disarm(name)


def test_no_state_of_a_deal_is_forgotten() -> None:
    met = {(cut.side, cut.state) for cut in ALL if not cut.before}
    never = {(cut.side, cut.state) for cut in after(*NEVER_HERE)}
    assert met | never == {(cut.side, cut.state) for cut in after(*steps())}
    assert not met & never


@pytest.mark.parametrize(
    "cut", [pytest.param(cut, id=cut.name, marks=[] if cut.name in QUICK else pytest.mark.slow) for cut in HONEST]
)
def test_an_honest_deal_survives(stall: Stall, cut: PowerCut) -> None:
    purse = stall.purse(cut.name)
    stall.cluster.arm(cut.side, cut)
    stall.buy(cut.name)
    stall.cluster.died(cut.side)
    stall.cluster.start(cut.side)
    stall.assert_paid(cut.name, purse)


def test_a_refused_deal_stays_refused(stall: Stall) -> None:
    purse = stall.purse("refused")
    stall.cluster.arm(BUYER, *REFUSED)
    stall.buy("refused", max_price=1)
    stall.cluster.died(BUYER)
    stall.cluster.start(BUYER)
    assert "limit" in stall.until("refused", "refused")["reason"]
    stall.assert_unpaid("refused", purse, locked=0)


def test_a_buyer_whose_confirmation_nobody_brings_pays_himself(stall: Stall) -> None:
    purse = stall.purse("silent-seller")
    stall.cluster.arm(SELLER, *before(S.CONFIRMED))
    stall.buy("silent-seller")
    stall.cluster.died(SELLER)
    stall.cluster.arm(BUYER, *SELLER_SILENT)
    stall.cluster.leap(TO_THE_MARGIN_S)
    stall.cluster.died(BUYER)
    stall.cluster.start(BUYER)
    stall.until("silent-seller", "settled")
    stall.cluster.start(SELLER)
    stall.assert_paid("silent-seller", purse)


def test_a_buyer_who_stays_silent_pays_a_seller_who_dies_again_and_again(stall: Stall) -> None:
    purse = stall.purse("silent")
    first, *rest = SILENT_BUYER
    stall.cluster.arm(SELLER, first)
    stall.cluster.arm(BUYER, *before(B.LOCKED))  # his money is locked, and he never asks for the key
    stall.buy("silent")
    stall.cluster.died(BUYER)
    stall.cluster.died(SELLER)
    stall.cluster.leap(TO_THE_MARGIN_S)
    stall.dies(SELLER, *rest[:3])
    stall.cluster.leap(PAST_THE_WINDOW_S)
    stall.dies(SELLER, *rest[3:])
    stall.cluster.start(SELLER)
    stall.until("silent", "paid", SELLER)
    stall.cluster.start(BUYER)  # paid long ago, he finds the key on the chain
    stall.assert_paid("silent", purse)


def test_a_buyer_who_dies_again_and_again_is_refunded_when_the_seller_is_gone(stall: Stall) -> None:
    purse = stall.purse("gone")
    stall.cluster.arm(SELLER, *after(S.SEEN))
    stall.cluster.arm(BUYER, SELLER_GONE[0])
    stall.buy("gone")
    stall.cluster.died(SELLER)
    stall.until("gone", "locked")
    stall.cluster.leap(PAST_THE_WINDOW_S)
    stall.cluster.died(BUYER)
    stall.dies(BUYER, *SELLER_GONE[1:], *REFUNDED)
    stall.cluster.start(BUYER)
    stall.until("gone", "refunded")
    stall.cluster.start(SELLER)
    stall.until("gone", "refunded", SELLER)
    stall.assert_unpaid("gone", purse)


@pytest.mark.slow
def test_a_sale_that_both_left_is_given_back_by_its_seller(stall: Stall) -> None:
    purse = stall.purse("both-gone")
    stall.cluster.arm(SELLER, *after(S.SEEN))
    stall.cluster.arm(BUYER, *before(B.LOCKED))
    stall.buy("both-gone")
    stall.cluster.died(BUYER)
    stall.cluster.died(SELLER)
    stall.cluster.leap(PAST_THE_WINDOW_S)
    stall.dies(SELLER, BOTH_GONE[0])
    stall.cluster.leap(PAST_THE_RELEASE_S)
    stall.dies(SELLER, *BOTH_GONE[1:])
    stall.cluster.start(SELLER)
    stall.until("both-gone", "refunded", SELLER)
    stall.cluster.start(BUYER)
    stall.until("both-gone", "refunded")
    stall.assert_unpaid("both-gone", purse)


def test_a_buyer_who_dies_again_and_again_still_proves_a_wrong_key(stall: Stall) -> None:
    purse = stall.purse("wrong-key")
    stall.cluster.kill(SELLER)
    stall.cluster.start(SELLER, cheat="wrong-key")
    stall.cluster.arm(BUYER, WRONG_KEY[0])
    stall.buy("wrong-key")
    stall.cluster.died(BUYER)
    stall.cluster.leap(TO_THE_MARGIN_S)  # the seller posts what he gave in private
    stall.until_delivered("wrong-key")
    stall.cluster.arm(SELLER, *SELLER_AT_FAULT)
    bond = stall.bond("wrong-key")
    stall.dies(BUYER, *WRONG_KEY[1:])
    stall.cluster.start(BUYER)
    stall.until("wrong-key", "disputed")
    stall.cluster.died(SELLER)
    stall.cluster.start(SELLER)
    stall.until("wrong-key", "disputed", SELLER)
    stall.assert_unpaid("wrong-key", purse, gained_wei=bond // 2)


@pytest.mark.slow
def test_a_buyer_who_dies_again_and_again_still_shows_a_false_cell(stall: Stall) -> None:
    stall.cluster.kill(SELLER)
    stall.cluster.start(SELLER, cheat="false-cell")
    stall.offer(*FALSE_CELLS)
    lot = next(lot for lot in FALSE_CELLS if stall.buyer.call("deals.sample", offer=stall.offers[lot]["offer"])["ok"])
    purse, bond = stall.purse(lot), stall.bond(lot)
    first, *rest = FALSE_CELL
    stall.cluster.arm(BUYER, first)
    stall.buy(lot)
    stall.cluster.died(BUYER)
    stall.dies(BUYER, *rest)
    stall.cluster.start(BUYER)
    ended = stall.until(lot, "disputed")
    assert "cell" in ended["reason"]  # not that a wallet was locked on the way
    deal = ended["deal"]
    sent = [one["what"] for one in stall.buyer.call("wallet.history")["items"] if one["key"].startswith(deal)]
    assert sent.count("sale.disputeCell") == 1
    stall.until(lot, "disputed", SELLER)
    stall.assert_unpaid(lot, purse, gained_wei=bond // 2)
    stall.cluster.kill(SELLER)


@pytest.mark.slow
def test_who_bought_before_the_fault_takes_the_held_share_back_through_power_cuts(stall: Stall) -> None:
    lot = "bought-before"
    stall.buy(lot)
    deal = stall.until(lot, "settled")["deal"]
    purse, bond, price = stall.purse(lot), stall.bond(lot), int(stall.offers[lot]["price_wei"])
    stall.cluster.kill(SELLER)
    stall.cluster.start(SELLER, cheat="wrong-key")
    stall.buy(lot)
    stall.until_one(lot, "awaiting_refund")
    first, *rest = BOUGHT_BEFORE
    stall.cluster.arm(BUYER, first)
    stall.cluster.leap(TO_THE_MARGIN_S)  # the seller posts the wrong key, the buyer shows it
    stall.cluster.died(BUYER)
    stall.dies(BUYER, *rest)
    stall.cluster.start(BUYER)
    wait_for(lambda: all(one["over"] for one in stall.deals(lot, BUYER)), "the end of both deals")
    ended = {one["deal"] == deal: one["state"] for one in stall.deals(lot, BUYER)}
    assert ended == {True: "reclaimed", False: "disputed"}
    held = int(stall.cluster.view("sale", "heldShare", price))
    assert stall.purse(lot).buyer_wei - purse.buyer_wei == held + bond // 2
    stall.assert_balanced()
    stall.cluster.kill(SELLER)


@pytest.mark.slow
def test_a_buyer_who_missed_the_time_to_dispute_knows_it_after_a_power_cut(stall: Stall) -> None:
    purse = stall.purse("too-late")
    stall.cluster.kill(SELLER)
    stall.cluster.start(SELLER, cheat="wrong-key")
    stall.cluster.arm(BUYER, *before(B.LOCKED))
    stall.buy("too-late")
    stall.cluster.died(BUYER)
    stall.cluster.leap(TO_THE_MARGIN_S)
    stall.until_delivered("too-late")
    stall.cluster.leap(PAST_THE_WINDOW_S)
    stall.until("too-late", "paid", SELLER)
    stall.dies(BUYER, *TOO_LATE)
    stall.cluster.start(BUYER)
    lost = stall.until("too-late", "lost")
    assert "the posted key is wrong" in lost["reason"]
    assert purse.buyer_wei - stall.purse("too-late").buyer_wei == int(stall.offers["too-late"]["price_wei"])
    assert stall.records("too-late") == []
    stall.assert_balanced()
    stall.cluster.kill(SELLER)  # the next one is honest
