"""What the contract holds back of a paid price, who gets it, and what is counted of those who lose a dispute."""

from __future__ import annotations

import pytest
import trio

from node.exchange.buyer import Policy
from node.exchange.errors import CannotDispute
from node.market import draft, offers
from node.market.sellers import LOST_FACTOR, Sellers
from protocols.exchange import machine
from protocols.offers.offer import Offer
from tests.integration.test_exchange import TOKENS, Place, chain, fund, meet, place
from tests.support import hostile
from tests.support.items import ALICE, BOB, CAROL
from tests.support.trader import Trader

__all__ = ["chain", "place"]  # fixtures

pytestmark = pytest.mark.chain


async def heard_by(trader: Trader, offer: str) -> None:
    with trio.fail_after(10):
        while trader.catalog.get(offer, Offer) is None:
            await trio.sleep(0.01)


async def paid(buyer: Trader, seller: Trader, offer: str) -> str:
    """A settled deal."""
    deal = await buyer.desk.buy(offer, 1_000 * TOKENS)
    assert await buyer.over(deal) == "settled", (await buyer.desk.view(deal)).reason
    assert await seller.over(f"sale-{(await buyer.desk.view(deal)).sale}") == "paid"
    return deal


async def paid_unseen(place: Place, alice: Trader, bob: Trader, offer: str) -> tuple[str, str]:
    """A settled deal about an offer with a false cell that its sample did not hold."""
    for _ in range(8):
        deal = await bob.desk.buy(offer, 1_000 * TOKENS)
        if await bob.over(deal) == "settled":
            return deal, offer
        offer = (await alice.offers.publish("fashion", "Dresses, sealed anew")).item.id
        for _ in range(3):
            place.anvil.call("evm_mine")
        await heard_by(bob, offer)
    raise AssertionError("eight samples in a row held the one false cell")


async def test_the_held_share_comes_to_the_seller_later_and_his_sales_are_counted(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        deals = [await paid(bob, alice, offer) for _ in range(2)]
        price = int(bob.offers.get(offer).body.price_wei)
        sale = alice.chain.sale
        share, fee = await sale.held_share(price), await sale.fee_of(price)
        (held,) = await alice.rewards.held()
        now = await alice.chain.timestamp()
        assert int(held.amount_wei) == 2 * share > 0
        assert now < held.ripens_at <= now + 2 * await sale.feedback_window()
        views = [await bob.desk.view(deals[0]), await alice.desk.view(f"sale-{(await bob.desk.view(deals[0])).sale}")]
        assert [int(view.held_wei) for view in views] == [share, share]
        assert all(now < view.ripens_at <= held.ripens_at for view in views)
        before = await alice.chain.reputation.facts(alice.account.address)
        balance = await alice.chain.token.balance(alice.account.address)
        assert [claim.source for claim in await alice.rewards.claim()] == ["sales"]
        assert await alice.chain.token.balance(alice.account.address) - balance == 2 * (price - fee - share)
        facts = await alice.chain.reputation.facts(alice.account.address)
        assert (facts.sold - before.sold, facts.sold_wei - before.sold_wei) == (2, 2 * price)
        assert facts.disputes_lost == before.disputes_lost
        place.anvil.call("evm_setNextBlockTimestamp", held.ripens_at)
        place.anvil.call("evm_mine")
        assert await alice.rewards.held() == []
        assert (await bob.desk.view(deals[0])).held_wei == "0"
        assert [(owed.source, int(owed.amount_wei)) for owed in await alice.rewards.list()] == [("sales", 2 * share)]
        await alice.rewards.claim()
        assert await alice.chain.token.balance(alice.account.address) - balance == 2 * (price - fee)
        assert (await alice.chain.reputation.facts(alice.account.address)).sold == facts.sold, "counted once"


async def test_a_buyer_who_looks_only_after_paying_gets_half_the_bond_and_the_held_share(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = machine.examine
    hostile.become("false-cell", monkeypatch.setattr)
    hostile.become("careless-buyer", monkeypatch.setattr)
    async with (
        place.trader(ALICE, 1) as alice,
        place.trader(BOB, 2) as bob,
        place.trader(CAROL, 3, policy=Policy(max_disputes_lost=0)) as carol,
    ):
        await carol.gossip.follow("fashion")
        offer = await meet(alice, bob, place)
        await fund(place, carol)
        lost = (await bob.chain.reputation.facts(alice.account.address)).disputes_lost
        deal, offer = await paid_unseen(place, alice, bob, offer)
        with pytest.raises(CannotDispute):  # he still does not look
            await bob.desk.dispute(deal)
        body = bob.offers.get(offer).body
        bond = (await bob.chain.sale.offer_terms(body.offer_no)).bond_wei
        share = await bob.chain.sale.held_share(int(body.price_wei))
        before = await bob.chain.token.balance(bob.account.address)
        monkeypatch.setattr(machine, "examine", look)
        await bob.desk.dispute(deal)
        with trio.fail_after(30):
            while (view := await bob.desk.view(deal)).state != "disputed":
                await trio.sleep(0.02)
        assert [step.state for step in view.steps][-5:] == [
            "settled", "disputing", "reclaiming", "withdrawing", "disputed",
        ]  # fmt: skip
        assert await bob.chain.token.balance(bob.account.address) - before == bond // 2 + share
        with trio.fail_after(10):
            while (await alice.deals.get(f"sale-{view.sale}")).state != "disputed":  # type: ignore[union-attr]
                await trio.sleep(0.02)
            while (await bob.chain.reputation.facts(alice.account.address)).disputes_lost == lost:
                await trio.sleep(0.02)
        sellers = Sellers(bob.chain.reputation, lambda: 0)
        assert sellers.weight(alice.account.address) == 1.0, "a listing does not wait for the chain"
        facts = await sellers.look(alice.account.address)
        assert facts is not None
        assert sellers.weight(alice.account.address) == LOST_FACTOR**facts.disputes_lost < 1
        monkeypatch.setattr(offers, "seal_records", draft.seal_records)  # from now on her goods are good
        await refuses(place, alice, carol)


async def refuses(place: Place, seller: Trader, buyer: Trader) -> None:
    """Who wants no seller that ever lost a dispute says so before a coin moves."""
    offer = (await seller.offers.publish("fashion", "Dresses, once more")).item.id
    for _ in range(3):
        place.anvil.call("evm_mine")
    await heard_by(buyer, offer)
    before = await buyer.chain.token.balance(buyer.account.address)
    deal = await buyer.desk.buy(offer, 1_000 * TOKENS)
    assert await buyer.over(deal) == "refused"
    assert "max_disputes_lost" in (await buyer.desk.view(deal)).reason
    assert await buyer.chain.token.balance(buyer.account.address) == before
