"""A real chain takes back what a deal had already heard of it, deeper than anybody waited: both sides do it again.

The traders believe the log at once (no confirmations), so every reorganisation reaches what their machines have acted
on. The blocks that are taken back come again empty: what was mined in them is not, unless its sender sends it anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio

from contracts.bindings.sale import SaleState
from protocols.offers.offer import Offer
from tests.integration.test_exchange import TOKENS, Place, chain, meet, place
from tests.support import hostile
from tests.support.items import ALICE, BOB
from tests.support.trader import Trader

__all__ = ["chain", "place"]  # fixtures

pytestmark = pytest.mark.chain

QUIET_S = 0.5  # both sides wait: let the chain's clock go on
LEAP_S = 400  # less than any margin of either side
PATIENCE_S = 90


@dataclass(frozen=True)
class Story:
    """A cheat (or none), how its deal ends on both sides, and on chain."""

    cheat: str
    buyer: str
    seller: str
    on_chain: SaleState


STORIES = [
    Story("", "settled", "paid", SaleState.PAID),
    Story("deaf", "settled", "paid", SaleState.PAID),
    Story("vanish", "refunded", "refunded", SaleState.REFUNDED),
    Story("wrong-key", "disputed", "disputed", SaleState.REFUNDED),
    Story("false-cell", "disputed", "disputed", SaleState.REFUNDED),
]


@dataclass
class Deal:
    """One purchase, and what its buyer had before."""

    place: Place
    alice: Trader
    bob: Trader
    deal: str
    sale: int
    before: int

    async def ends(self, story: Story) -> None:
        """Wait until both sides, and the chain, are where the story ends; when nothing moves, time passes."""
        last: object = None
        with trio.move_on_after(PATIENCE_S):
            while (seen := await self.seen()) != (story.buyer, story.seller, story.on_chain, 0):
                if seen == last:
                    self.place.anvil.call("evm_increaseTime", LEAP_S)
                    self.place.anvil.call("evm_mine")
                last = seen
                await trio.sleep(QUIET_S)
            return
        raise AssertionError(f"stands at {last}")

    async def seen(self) -> tuple[str, str, int, int]:
        """Where the buyer, the seller and the contract stand, and what it owes the buyer."""
        bought, sold = await self.bob.deals.get(self.deal), await self.alice.deals.get(f"sale-{self.sale}")
        on_chain = await self.bob.chain.sale.sale(self.sale)
        credit = await self.bob.chain.sale.credit(self.bob.account.address)
        return (bought.state if bought else "", sold.state if sold else "", on_chain.state, credit)

    async def since(self, event: str) -> int:
        """How many blocks there are from the one with this event of the sale to the newest, both counted."""
        sale = self.bob.chain.sale
        head = await self.bob.chain.block_number()
        found = await self.bob.chain.logs(addresses=[sale.address], first=0, last=head)
        at = next(log.block for log in found if log.name == event and log.args["saleId"] == self.sale)
        return head - at + 1

    async def gained(self) -> int:
        return await self.bob.chain.token.balance(self.bob.account.address) - self.before


async def buy(place: Place, alice: Trader, bob: Trader) -> Deal:
    """A purchase that came to its lock; one whose sample held the false cell is begun anew."""
    offer = await meet(alice, bob, place)
    for _ in range(8):
        before = await bob.chain.token.balance(bob.account.address)
        deal = await bob.desk.buy(offer, 1_000 * TOKENS)
        with trio.fail_after(30):
            while (row := await bob.deals.get(deal)) is None or not (row.sale or row.over):
                await trio.sleep(0.01)
        if row.sale:
            return Deal(place, alice, bob, deal, int(row.sale), before)
        offer = (await alice.offers.publish("fashion", "Dresses, sealed anew")).item.id
        for _ in range(3):
            place.anvil.call("evm_mine")
        with trio.fail_after(10):
            while bob.catalog.get(offer, Offer) is None:
                await trio.sleep(0.01)
    raise AssertionError("eight samples in a row held the one false cell")


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.cheat or "honest")
@pytest.mark.parametrize("back", ["the end", "all but the lock", "the lock too"])
async def test_a_deal_that_is_over_ends_the_same_after_a_reorganisation(
    back: str, story: Story, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    if story.cheat:
        hostile.become(story.cheat, monkeypatch.setattr)
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        it = await buy(place, alice, bob)
        await it.ends(story)
        gained = await it.gained()
        lock = await it.since("Locked")
        depth = {"the end": await it.since("Finished"), "all but the lock": lock - 1, "the lock too": lock}[back]
        seller_steps = len(await alice.deals.steps(f"sale-{it.sale}"))
        place.anvil.call("anvil_reorg", depth, [])
        assert await it.seen() != (story.buyer, story.seller, story.on_chain, 0), "the chain took nothing back"
        await it.ends(story)
        assert await it.gained() == gained
        assert len(await alice.deals.steps(f"sale-{it.sale}")) > seller_steps
        terms = await bob.chain.sale.offer_terms(it.sale >> 64)
        assert terms.open == 0
        assert terms.uncollected == int(story.on_chain is SaleState.PAID)


async def test_a_lock_that_is_taken_back_before_its_key_left_is_mined_again_and_paid_once(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        it = await buy(place, alice, bob)
        place.anvil.call("anvil_reorg", await it.since("Locked"), [])
        await it.ends(STORIES[0])
        price = (await bob.chain.sale.sale(it.sale)).price_wei
        assert await it.gained() == -price
