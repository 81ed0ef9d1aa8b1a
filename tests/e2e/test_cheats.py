"""Who could cheat whom (DESIGN §5), between real daemons: sellers, and one buyer, whose nodes were rewritten to cheat.

Each story starts an adversary (tests/support/adversary), lets him do it to people who run the product, and ends with
what the chain and the shards say: who has what, and the most that was lost. Paying for use is test_cheats_use.py
and test_cheats_vouchers.py, feedback test_cheats_feedback.py; all rows stand in tests/support/adversary/table.py.
"""

from __future__ import annotations

import pytest

from tests.e2e import test_cheats_feedback, test_cheats_use, test_cheats_vouchers
from tests.support.adversary.scene import ALICE, BOB, CAROL, EACH, Lot, Scene
from tests.support.adversary.table import STORIES, Row, story
from tests.support.cluster import Cluster, wait_for

pytestmark = [pytest.mark.chain, pytest.mark.e2e]

# config/networks/devnet.toml: 120 s of chain time to deliver, 120 s to dispute; a key is posted with a third left
TO_THE_MARGIN_S = 85
PAST_THE_WINDOW_S = 125
DISPUTE_GAS = 400_000  # a key or a cell dispute of one small cell and the withdrawal, far from what a block holds
TRIES = 8
CARELESS = "careless"


@pytest.fixture(scope="module")
def scene(cluster: Cluster) -> Scene:
    return Scene(cluster)


def test_every_row_has_its_story() -> None:
    told = {name for stories in STORIES.values() for name in stories}
    assert [row.name for row in Row if not STORIES[row]] == []
    for module in (test_cheats_use, test_cheats_vouchers, test_cheats_feedback):
        mine = {f"{module.__name__}.{name}" for name in vars(module) if name.startswith("test_")}
        assert mine <= told, mine - told


# --- a seller hands over a wrong key ---


@story(Row.WRONG_KEY)
@pytest.mark.parametrize("lie", ["wrong-key", "off-curve"])
def test_a_wrong_key_costs_its_seller_the_bond_and_the_buyer_gas(scene: Scene, lie: str) -> None:
    bob, mallory = scene.honest(BOB), scene.stranger(lie)
    lot = scene.sell(mallory, lie)
    before, bond = scene.purse(BOB), scene.bond(lot)
    penalties = scene.cluster.view("sale", "penaltiesDue")
    deal = scene.buy(BOB, lot)
    scene.until(BOB, deal, "awaiting_refund")  # in private nothing can be proven: he does not pay, and waits
    assert scene.purse(BOB).token_wei == before.token_wei - lot.price_wei
    scene.cluster.leap(TO_THE_MARGIN_S)  # who wants to be paid has to post his key, and posts the same lie
    done = scene.until(BOB, deal, "disputed")
    after = scene.purse(BOB)
    assert after.token_wei == before.token_wei + bond // 2  # the price is back, and half the bond
    assert scene.bond(lot) == 0
    assert scene.cluster.view("sale", "penaltiesDue") == penalties + bond - bond // 2  # the rest will burn
    assert "dispute" in {tx["step"] for tx in done["txs"]}
    assert sum(tx["gas"] for tx in done["txs"] if tx["step"] != "lock") < DISPUTE_GAS
    assert scene.until(mallory, scene.sale(done), "disputed")
    assert scene.earned(lot) == 0
    assert scene.client(mallory).call("rewards.list")["items"] == []
    assert bob.call("records.search", query="dress", domain="cheats")["items"] == []
    assert scene.records(BOB, lot) == []
    scene.assert_balanced()


@story(Row.WRONG_KEY)
def test_who_was_found_at_fault_twice_sells_no_more(scene: Scene) -> None:
    """Whoever proves a fault has it counted; the next one reads it before he pays, whatever is offered to him."""
    scene.honest(BOB)
    scene.honest(CAROL)
    mallory = scene.stranger("false-cell")
    for buyer in (BOB, CAROL):
        *_, deal = buy_unseen(scene, mallory, buyer)
        scene.until(buyer, deal, "disputed")
    wait_for(lambda: scene.faults(mallory) == 2, "both faults to be counted")
    scene.adversary("", mallory)  # he has his old software back
    scene.wary(BOB)
    assert "lost 2 disputes" in refused(scene, scene.sell(mallory, "good at last"))


# --- a seller commits to junk ---


@story(Row.JUNK)
def test_a_false_cell_that_the_sample_missed_costs_its_seller_the_bond(scene: Scene) -> None:
    scene.honest(BOB)
    mallory = scene.stranger("false-cell")
    before, lot, deal = buy_unseen(scene, mallory, BOB)
    done = scene.until(BOB, deal, "disputed")
    bond = 4 * lot.price_wei  # market.open_sales
    assert scene.purse(BOB).token_wei == before + bond // 2
    assert scene.bond(lot) == 0
    assert "keyed" in [step["state"] for step in done["steps"]]  # the key was right: the cell is proven false by itself
    assert sum(tx["gas"] for tx in done["txs"] if tx["step"] != "lock") < DISPUTE_GAS
    assert scene.until(mallory, scene.sale(done), "disputed")
    assert scene.earned(lot) == 0
    assert scene.records(BOB, lot) == []
    scene.assert_balanced()


@story(Row.JUNK)
def test_whoever_paid_before_the_junk_was_found_gets_back_what_is_held(scene: Scene) -> None:
    """He believed and did not look. Somebody who looks buys the same a moment later."""
    scene.honest(BOB)
    scene.adversary("careless-buyer", CARELESS)
    mallory = scene.stranger("false-cell")
    before, lot, deal = buy_unseen(scene, mallory, CARELESS)
    scene.until(CARELESS, deal, "settled")
    assert before - scene.purse(CARELESS).token_wei == lot.price_wei
    share, bob, bond = scene.cluster.view("sale", "heldShare", lot.price_wei), scene.purse(BOB), scene.bond(lot)
    assert 0 < share < lot.price_wei
    scene.until(BOB, scene.buy(BOB, lot), "disputed")
    assert scene.purse(BOB).token_wei == bob.token_wei + bond // 2
    scene.until(CARELESS, deal, "reclaimed")
    assert before - scene.purse(CARELESS).token_wei == lot.price_wei - share  # the most that not looking costs
    assert scene.earned(lot) == lot.price_wei - share - scene.fee(lot.price_wei)  # nothing more will ripen
    scene.departs(CARELESS)
    scene.assert_balanced()


@story(Row.JUNK)
def test_much_junk_is_refused_by_the_sample_before_a_coin_moves(scene: Scene) -> None:
    scene.honest(BOB)
    mallory = scene.stranger("junk")
    lot = scene.sell(mallory, "junk")
    assert "1 of 1 opened cells hold no records" in refused(scene, lot)


@story(Row.JUNK)
def test_a_little_junk_that_the_sample_missed_costs_its_fraction(scene: Scene) -> None:
    """Noise that was committed to as such: no contract can judge it. What is lost is this cell's part of the price."""
    scene.honest(BOB)
    mallory = scene.stranger("a-little-junk")
    before, lot, deal = buy_unseen(scene, mallory, BOB)
    done = scene.until(BOB, deal, "settled")
    paid = before - scene.purse(BOB).token_wei
    assert paid == lot.price_wei
    assert done["unreadable"] == 1
    held = scene.records(BOB, lot)
    assert 0 < len(held) == done["records"] < EACH
    assert lot.cells > 2
    lost = paid * (lot.records - len(held)) // lot.records
    assert lost <= 2 * paid // lot.cells  # one cell of them; cells hold about as many records each
    scene.assert_balanced()


@story(Row.BOAST)
def test_a_claim_far_above_the_records_is_refused_with_its_reason(scene: Scene) -> None:
    scene.honest(BOB)
    mallory = scene.stranger("boast")
    lot = scene.sell(mallory, "boast")
    assert "1.00 was claimed" in refused(scene, lot)


@story(Row.OTHER_CELLS)
def test_a_seller_who_opens_other_cells_than_asked_is_refused(scene: Scene) -> None:
    scene.honest(BOB)
    mallory = scene.stranger("other-cells")
    lot = scene.sell(mallory, "other cells")
    assert "opened other cells than the block hash chose" in refused(scene, lot)
    looked = scene.client(BOB).call("deals.sample", offer=lot.offer)  # also to somebody who only looks
    assert not looked["ok"]
    assert "other cells" in looked["reasons"][0]


def refused(scene: Scene, lot: Lot) -> str:
    """Why Bob does not buy: nothing was locked, nothing paid, nothing is held."""
    before = scene.purse(BOB)
    done = scene.until(BOB, scene.buy(BOB, lot), "refused")
    assert scene.purse(BOB) == before  # not even gas
    assert scene.terms(lot)["sold"] == 0
    assert done["txs"] == []
    assert scene.records(BOB, lot) == []
    scene.assert_balanced()
    return str(done["reason"])


def buy_unseen(scene: Scene, seller: str, buyer: str) -> tuple[int, Lot, str]:
    """Buy until the sample happens to miss the one bad cell, which it does more often than not."""
    for number in range(TRIES):
        lot = scene.sell(seller, f"lot {number} of {seller}", BOB, buyer)
        before = scene.purse(buyer).token_wei
        deal = scene.buy(buyer, lot)
        seen = scene.until(buyer, deal, "refused", "locked", "keyed", "disputing", "disputed", "confirming", "settled")
        if seen["state"] != "refused":
            return before, lot, deal
        assert "cell" in seen["reason"]
        assert scene.purse(buyer).token_wei == before
    raise AssertionError(f"{TRIES} samples in a row held the one bad cell")


# --- a seller vanishes, or his bond is used up ---


@story(Row.VANISHED)
def test_a_seller_who_vanishes_after_the_lock_costs_time(scene: Scene) -> None:
    scene.honest(BOB)
    mallory = scene.stranger("vanish")
    lot = scene.sell(mallory, "vanish")
    before, bond = scene.purse(BOB), scene.bond(lot)
    deal = scene.buy(BOB, lot)
    scene.until(BOB, deal, "locked")
    assert scene.purse(BOB).token_wei == before.token_wei - lot.price_wei
    scene.departs(mallory)
    scene.cluster.leap(PAST_THE_WINDOW_S)
    scene.until(BOB, deal, "refunded")
    assert scene.purse(BOB).token_wei == before.token_wei
    assert (scene.bond(lot), scene.earned(lot)) == (bond, 0)  # gone is no fault, and no gain
    assert scene.records(BOB, lot) == []
    scene.assert_balanced()


@story(Row.THIN_BOND)
def test_a_bond_that_covers_no_further_sale_is_seen_before_the_lock(scene: Scene) -> None:
    scene.honest(BOB)
    scene.honest(CAROL)
    mallory = scene.stranger("thin-bond+vanish")  # the first sale stays open: his bond is one price
    lot = scene.sell(mallory, "thin bond", BOB, CAROL)
    assert scene.bond(lot) == lot.price_wei
    carol = scene.purse(CAROL)
    first = scene.buy(CAROL, lot)
    scene.until(CAROL, first, "locked")
    bob = scene.purse(BOB)
    second = scene.until(BOB, scene.buy(BOB, lot), "refused")
    assert "bond" in second["reason"]
    assert scene.purse(BOB) == bob
    assert scene.terms(lot)["sold"] == 1
    scene.cluster.leap(PAST_THE_WINDOW_S)
    scene.until(CAROL, first, "refunded")
    assert scene.purse(CAROL).token_wei == carol.token_wei
    scene.assert_balanced()


# --- a buyer takes the key and stays silent ---


@story(Row.SILENT)
@pytest.mark.parametrize("silence", ["silent-buyer", "signs-another-sale"])
def test_a_buyer_who_takes_the_key_and_stays_silent_pays(scene: Scene, silence: str) -> None:
    alice = scene.honest(ALICE)
    mallory = scene.stranger(silence)
    lot = scene.sell(ALICE, silence, mallory)
    buyer, seller = scene.purse(mallory), scene.purse(ALICE)
    deal = scene.until(mallory, scene.buy(mallory, lot), "confirming")  # he has the key, and the records
    assert len(scene.records(mallory, lot)) == EACH
    assert scene.earned(lot) == 0
    scene.cluster.leap(TO_THE_MARGIN_S)
    scene.until(ALICE, scene.sale(deal), "delivered")
    scene.cluster.leap(PAST_THE_WINDOW_S)
    sold = scene.until(ALICE, scene.sale(deal), "paid")
    assert scene.earned(lot) == lot.price_wei - scene.fee(lot.price_wei)
    assert buyer.token_wei - scene.purse(mallory).token_wei == lot.price_wei
    assert [tx["step"] for tx in sold["txs"]] == ["deliver", "claim"]
    assert seller.native_wei - scene.purse(ALICE).native_wei > 0  # what his silence cost her
    assert sold["gas"] < DISPUTE_GAS
    assert alice.call("offers.get", offer=lot.offer)["offer"] == lot.offer  # and she goes on selling
    scene.assert_balanced()
