"""Opinions about what was never bought, and purchases from oneself (DESIGN §5): nobody gains by them.

What a washer lost is counted from the chain: all that his two accounts had before, less all that they have in the end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.adversary.scene import ALICE, BOB, CAROL, MALLORY, Lot, Scene
from tests.support.adversary.stage import DEPOSIT, UNIT, Stage, stage_of
from tests.support.adversary.table import Row, story
from tests.support.client import CallFailed
from tests.support.cluster import REWARD_CHALLENGE_S, Cluster, wait_for

pytestmark = [pytest.mark.chain, pytest.mark.e2e]

WASHER, SECOND = "washer", "washer-second"  # two wallets of one owner
WASHES = 6  # 1.06 to the sixth is more than the clamp
PPM = 1_000_000
ONE_VOICE = 4  # stars: a single five moves what is shown from three to less than this
TOLD_S = 2.0  # gossip takes some milliseconds
PAST_THE_HOLDBACK_S = 250  # config/networks/devnet.toml: what is paid is all the seller's within two windows of 120 s


@dataclass(frozen=True)
class Standing:
    """How an offer stands with somebody who looks for one."""

    quote_wei: int
    stars: float
    ratings: int
    listed: list[str]
    matches: list[str]


class Market:
    """Alice and Carol sell, Bob looks for something to buy."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        for name in (ALICE, BOB, CAROL):
            scene.honest(name)
        self.good = scene.sell(ALICE, "good", BOB)
        self.rival = scene.sell(CAROL, "rival", BOB)
        bob = scene.client(BOB)
        text, most = "soft sleeves and seams that hold", str(self.good.price_wei * 10)
        self.demand = bob.call("demands.post", text=text, domain=scene.domain, max_price=most)["demand"]

    def standing(self, lot: Lot) -> Standing:
        """What Bob sees of it: the chain's price, and its place in what he is shown."""
        bob, domain = self.scene.client(BOB), self.scene.domain
        listed = bob.call("offers.list", domain=domain, query="soft sleeves and seams that hold")["items"]
        matches = bob.call("demands.matches", demand=self.demand)["items"]
        shown = bob.call("offers.get", offer=lot.offer)
        return Standing(
            quote_wei=int(shown["quote_wei"]),
            stars=shown["stars"],
            ratings=shown["ratings"],
            listed=[one["offer"] for one in listed],
            matches=[one["offer"] for one in matches],
        )

    def rates(self, name: str, subject: str, receipt: str, rating: int) -> dict[str, Any]:
        """Give feedback and wait until Bob has heard of it."""
        given: dict[str, Any] = self.scene.client(name).call(
            "feedback.give", subject=subject, receipt=receipt, rating=rating, comment="!!!", outcome="used"
        )
        wait_for(lambda: given["feedback"] in self.heard(BOB, subject), "the rating at Bob")
        return given

    def heard(self, name: str, subject: str) -> dict[str, bool]:
        """The ratings of a subject that a node has heard, and whether it finds their tickets good."""
        items = self.scene.client(name).call("feedback.list", subject=subject)["items"]
        return {one["feedback"]: bool(one["ticket_ok"]) for one in items}


@pytest.fixture
def stage(cluster: Cluster) -> Stage:
    return stage_of(cluster)


@pytest.fixture(scope="module")
def market(cluster: Cluster) -> Market:
    return Market(Scene(cluster, "cheats-said"))


# --- feedback without a purchase ---


@story(Row.FAKE_FEEDBACK)
@pytest.mark.parametrize("ticket", ["of another", "of nobody"])
def test_a_rating_without_a_purchase_moves_nothing(market: Market, ticket: str) -> None:
    scene, good = market.scene, market.good
    deal = scene.until(BOB, bought(scene, good), "settled")
    scene.adversary("rates-unbought")
    scene.hears(MALLORY, good.offer)
    mallory, before = scene.purse(MALLORY), market.standing(good)
    rewarded = scene.cluster.view("rewards", "rewarded")
    sale = deal["sale"] if ticket == "of another" else str((good.number << 64) + 4_711)
    given = scene.client(MALLORY).call("feedback.give", subject=good.offer, receipt=sale, rating=1)
    assert (given["state"], given["note"]) == ("unrewarded", "NotBuyer")  # on chain
    assert given["feedback"] in market.heard(MALLORY, good.offer)
    time.sleep(TOLD_S)
    assert given["feedback"] not in market.heard(BOB, good.offer)  # the border lets no rating in without a ticket
    assert market.standing(good) == before
    assert scene.purse(MALLORY).wealth_wei == mallory.wealth_wei
    assert scene.cluster.view("rewards", "rewarded") == rewarded
    scene.assert_balanced()


@story(Row.FAKE_FEEDBACK)
def test_a_node_of_its_own_gives_no_rating_without_a_ticket(market: Market) -> None:
    carol = market.scene.client(CAROL)
    market.scene.hears(CAROL, market.good.offer)
    with pytest.raises(CallFailed) as refused:
        carol.call("feedback.give", subject=market.good.offer, receipt="4711", rating=5)
    assert refused.value.kind == "no_ticket"


@story(Row.FAKE_FEEDBACK)
def test_a_rating_of_a_model_that_was_never_paid_is_heard_by_nobody(stage: Stage) -> None:
    scene, model = stage.scene, stage.models[ALICE]
    mallory = scene.stranger("rates-unbought")
    stage.knows(mallory, model)
    given = scene.client(mallory).call("feedback.give", subject=model.id, receipt=model.id, rating=1)
    assert (given["state"], given["reward_wei"]) == ("told", "0")
    time.sleep(TOLD_S)
    for name in (ALICE, BOB, CAROL):
        heard = scene.client(name).call("feedback.list", subject=model.id)["items"]
        assert given["feedback"] not in {one["feedback"] for one in heard}


@story(Row.FAKE_FEEDBACK)
def test_a_proposal_of_rewards_for_what_was_never_paid_costs_its_proposer_his_stake(stage: Stage) -> None:
    scene, model, view = stage.scene, stage.models[ALICE], stage.scene.cluster.view
    pool, stake = scene.cluster.devnet.facts()["contracts"]["rewards"], view("rewards", "proposerStake")
    stage.deposit(BOB, DEPOSIT)  # what somebody really pays burns a fee: there is something to take
    scene.client(BOB).call("models.call", model=model.id, input=["the sleeves are soft"] * 20)
    assert stage.settle(model) >= 20 * UNIT
    rewarded = view("rewards", "rewarded")
    mallory = scene.stranger(f"counts-the-unpaid:{model.id}")
    address, before = scene.address(mallory), scene.purse(mallory)
    wait_for(lambda: slashes(scene, address), "somebody to refute it")  # whoever is first: every node looks
    (slashed,) = slashes(scene, address)
    assert (slashed["amount"], slashed["burnt"]) == (stake, stake - stake // 2)
    assert view("stakes", "credit", slashed["to"]) >= stake // 2 > 0
    assert slashed["to"] != address
    assert view("stakes", "bound", address, pool) == 0
    scene.cluster.leap(REWARD_CHALLENGE_S + 1)
    assert scene.client(mallory).call("rewards.claim")["items"] == []
    assert view("rewards", "rewarded") == rewarded
    assert before.token_wei - scene.purse(mallory).token_wei == stake
    scene.assert_balanced()


def slashes(scene: Scene, who: str) -> list[dict[str, Any]]:
    """What somebody's stake lost."""
    return [one for one in scene.events("stakes", "Slashed") if one["who"] == who]


def bought(scene: Scene, lot: Lot) -> str:
    """Bob's deal about a lot; he buys it once."""
    deals = scene.client(BOB).call("deals.list")["items"]
    return next((deal["deal"] for deal in deals if deal["offer"] == lot.offer), "") or scene.buy(BOB, lot)


# --- wash trading ---


@story(Row.WASH_TRADING)
def test_a_seller_who_buys_from_himself_and_rates_five_stars_pays_for_it(market: Market) -> None:
    """No software has to be changed for it: two wallets of one owner are two strangers to everybody."""
    scene = market.scene
    scene.honest(WASHER)
    scene.honest(SECOND)
    lot = scene.sell(WASHER, "washed", BOB, SECOND)
    before, quote = wealth(scene, lot), market.standing(lot).quote_wei
    rewards = 0
    for _ in range(WASHES):
        deal = scene.client(SECOND).call("deals.buy", offer=lot.offer, max_price=str(lot.price_wei))["deal"]
        scene.until(SECOND, deal, "settled")
        given = market.rates(SECOND, lot.offer, deal, 5)
        rewards += int(given["reward_wei"])
    fees = WASHES * scene.fee(lot.price_wei)
    beta = scene.cluster.view("rewards", "betaPpm")
    lost = before - wealth(scene, lot)
    assert 0 < rewards <= fees * beta // PPM
    assert lost == fees - rewards  # the washer's own fees, and nobody else's
    assert lost * PPM >= fees * (PPM - beta)
    clamp = scene.cluster.view("oracle", "clampPpm")
    after = market.standing(lot).quote_wei
    assert quote < after <= quote * (PPM + clamp) // PPM
    wait_for(lambda: market.standing(lot).ratings, "the stars at Bob")
    assert market.standing(lot).ratings == 1  # six purchases, one voice
    assert market.standing(lot).stars < ONE_VOICE
    scene.cluster.leap(PAST_THE_HOLDBACK_S)
    for name in (WASHER, SECOND):
        scene.client(name).call("rewards.claim")
    assert scene.earned(lot) == 0
    assert before - wealth(scene, lot) == lost  # nothing comes later, either
    assert int(scene.cluster.view("sale", "feesBurnt")) + int(scene.cluster.view("sale", "feesDue")) >= fees
    scene.assert_balanced()


@story(Row.WASH_TRADING)
def test_a_wallet_does_not_buy_from_itself(market: Market) -> None:
    alice = market.scene.client(ALICE)
    with pytest.raises(CallFailed, match="your own offer"):
        alice.call("deals.buy", offer=market.good.offer, max_price=str(market.good.price_wei))


def wealth(scene: Scene, lot: Lot) -> int:
    """Everything both accounts have, wherever the contracts keep it."""
    purses = scene.purse(WASHER).wealth_wei + scene.purse(SECOND).wealth_wei
    return purses + scene.bond(lot) + scene.earned(lot)
