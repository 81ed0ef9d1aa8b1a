"""Who could cheat whom, on a real chain: the rows of DESIGN §5 that a one-off sale has, with the cheat at work.

Each test says what the honest side is left with. The cheat is a node whose software was changed (`hostile.become`); the
honest side is the product, and so are the contract and the chain. Only the wire and the block store are the tests' own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import pytest
import trio

from contracts.errors import Reverted
from node.exchange.buyer import Saved
from protocols.exchange.handover import cell_fault_evidence, key_fault_evidence
from protocols.exchange.machine import BuyerState, restore
from protocols.offers.offer import Offer
from protocols.sealed import parse
from tests.integration.test_exchange import TOKENS, Place, chain, meet, place
from tests.support import hostile
from tests.support.items import ALICE, BOB
from tests.support.trader import Trader

__all__ = ["chain", "place"]  # fixtures

pytestmark = pytest.mark.chain

TO_THE_MARGIN_S = 3_100  # from the lock to where a seller posts the key: the window is 3,600 s, his margin 600 s
PAST_THE_WINDOW_S = 3_700


@dataclass
class Scene:
    """Alice sells, Bob buys; `before` is what Bob had."""

    place: Place
    alice: Trader
    bob: Trader
    offer: str
    before: int

    async def buy(self) -> str:
        """Bob's purchase, up to the lock or a refusal."""
        deal = await self.bob.desk.buy(self.offer, 1_000 * TOKENS)
        with trio.fail_after(30):
            while (row := await self.bob.deals.get(deal)) is None or not (row.sale or row.over):
                await trio.sleep(0.005)
        return deal

    async def buy_unseen(self) -> str:
        """Bob's purchase past the sample; one that happens to hold the false cell refuses, then Alice seals anew."""
        for _ in range(8):
            deal = await self.buy()
            if (row := await self.bob.deals.get(deal)) is not None and row.sale:
                return deal
            assert row is not None
            assert "cell" in row.reason
            listed = await self.alice.offers.publish("fashion", "Dresses, sealed anew")
            self.later(1)
            self.later(1)
            self.offer = listed.item.id
            with trio.fail_after(10):
                while self.bob.catalog.get(self.offer, Offer) is None:
                    await trio.sleep(0.01)
        raise AssertionError("eight samples in a row held the one false cell")

    async def reaches(self, deal: str, state: str) -> None:
        """Wait until Bob's deal has gone through a state."""
        with trio.fail_after(30):
            while state not in [step.state for step in (await self.bob.desk.view(deal)).steps]:
                await trio.sleep(0.005)

    async def seller_reaches(self, deal: str, state: str) -> None:
        sale = f"sale-{(await self.bob.desk.view(deal)).sale}"
        with trio.fail_after(30):
            while (row := await self.alice.deals.get(sale)) is None or row.state != state:
                await trio.sleep(0.005)

    def later(self, seconds: int) -> None:
        self.place.anvil.call("evm_increaseTime", seconds)
        self.place.anvil.call("evm_mine")

    async def gained(self) -> int:
        """What Bob has more than before, the price of nothing taken."""
        return await self.bob.chain.token.balance(self.bob.account.address) - self.before

    async def price(self) -> int:
        return int(self.bob.offers.get(self.offer).body.price_wei)

    async def bond(self) -> int:
        """The bond that still stands behind the offer."""
        terms = await self.bob.chain.sale.offer_terms(self.bob.offers.get(self.offer).body.offer_no)
        return terms.bond_wei


@asynccontextmanager
async def scene(place: Place) -> AsyncIterator[Scene]:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        yield Scene(place, alice, bob, offer, await bob.chain.token.balance(bob.account.address))


@pytest.mark.parametrize("cheat", ["wrong-key", "off-curve", "false-key"])
async def test_a_seller_who_hands_over_a_key_that_opens_nothing_loses_half_his_bond_to_the_buyer(
    cheat: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile.become(cheat, monkeypatch.setattr)
    async with scene(place) as it:
        deal = await it.buy_unseen()
        bond = await it.bond()
        await it.reaches(deal, "awaiting_refund")  # in private nothing can be proven, so Bob waits
        it.later(TO_THE_MARGIN_S)  # Alice, who wants to be paid, has to post it
        assert await it.bob.over(deal) == "disputed"
        assert await it.gained() == bond // 2
        assert await it.bond() == 0
        assert await it.alice.over(f"sale-{(await it.bob.desk.view(deal)).sale}") == "disputed"
        assert (await it.bob.shard.stats()).records == 0


async def test_a_seller_whose_cell_is_not_what_he_committed_to_is_shown_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile.become("false-cell", monkeypatch.setattr)
    async with scene(place) as it:
        deal = await it.buy_unseen()
        bond = int(it.alice.offers.get(it.offer).body.price_wei) * 3  # OfferPolicy.open_sales; it may be slashed by now
        assert await it.bob.over(deal) == "disputed"
        assert await it.gained() == bond // 2
        assert "keyed" in [step.state for step in (await it.bob.desk.view(deal)).steps]


@pytest.mark.parametrize("cheat", ["junk", "other-cells"])
async def test_a_seller_of_junk_or_of_his_best_cells_is_refused_before_a_coin_moves(
    cheat: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile.become(cheat, monkeypatch.setattr)
    async with scene(place) as it:
        deal = await it.buy()
        assert await it.bob.over(deal) == "refused"
        assert ("hold no records" if cheat == "junk" else "other cells") in (await it.bob.desk.view(deal)).reason
        assert await it.gained() == 0


async def test_a_seller_who_vanishes_after_the_lock_costs_time_only(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile.become("vanish", monkeypatch.setattr)
    async with scene(place) as it:
        deal = await it.buy()
        assert await it.gained() == -await it.price()
        it.later(PAST_THE_WINDOW_S)
        assert await it.bob.over(deal) == "refunded"
        assert await it.gained() == 0


async def test_a_buyer_who_takes_the_key_and_stays_silent_pays_all_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile.become("silent-buyer", monkeypatch.setattr)
    async with scene(place) as it:
        deal = await it.buy()
        await it.reaches(deal, "confirming")
        number = it.bob.offers.get(it.offer).body.offer_no
        assert await it.alice.chain.sale.earned(number) == 0
        it.later(TO_THE_MARGIN_S)
        await it.seller_reaches(deal, "delivered")
        it.later(PAST_THE_WINDOW_S)
        await it.seller_reaches(deal, "paid")
        price = await it.price()
        gained = await it.alice.chain.sale.earned(number) + await it.alice.chain.sale.held(number)
        assert gained == price - await it.alice.chain.sale.fee_of(price)


async def test_a_bond_that_covers_no_further_sale_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile.become("vanish", monkeypatch.setattr)  # so that the sales stay open
    async with scene(place) as it:
        terms = await it.bob.chain.sale.offer_terms(it.bob.offers.get(it.offer).body.offer_no)
        for _ in range(terms.max_open):
            await it.buy()
        deal = await it.buy()
        assert await it.bob.over(deal) == "refused"
        assert "bond" in (await it.bob.desk.view(deal)).reason


async def test_a_buyer_cannot_dispute_what_is_right(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell and the posted key of an honest sale: the contract decrypts as we do, and finds no fault."""
    hostile.become("silent-buyer", monkeypatch.setattr)
    async with scene(place) as it:
        deal = await it.buy()
        await it.reaches(deal, "confirming")
        it.later(TO_THE_MARGIN_S)
        await it.seller_reaches(deal, "delivered")
        row = await it.bob.deals.get(deal)
        assert row is not None
        state = restore(msgspec.msgpack.decode(row.machine, type=Saved).state, BuyerState)
        assert state.key is not None
        payload = parse(place.pantry.held[state.terms.cid])
        sale = it.bob.chain.sale
        for index in range(payload.cells):
            evidence = cell_fault_evidence(payload, index, state.content_key, int(state.sale))
            with pytest.raises(Reverted, match="NoFault"):
                await it.bob.transactor.once(f"cell {index}", sale.dispute_cell(*evidence.arguments()))
            claim = key_fault_evidence(payload, index, state.secret, state.key, int(state.sale))
            with pytest.raises(Reverted, match="NoFault"):
                await it.bob.transactor.once(f"key {index}", sale.dispute_key(*claim.arguments()))
