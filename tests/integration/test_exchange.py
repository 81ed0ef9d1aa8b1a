"""A sale between two traders on a real chain: the honest way, and what happens when one of them is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from contracts.anvil import Anvil, find_anvil, start_anvil
from contracts.deploy import deploy
from contracts.params import Deployment, DeployParams
from node.exchange.errors import OwnOffer
from node.wallet.errors import InsufficientFunds
from protocols.offers.offer import Offer
from tests.support.items import ALICE, BOB
from tests.support.trader import Pantry, Trader, open_trader
from tests.support.wire import Hub

pytestmark = pytest.mark.chain

TEXTS = [
    f"Review {n}: this {cut} dress in {colour} fits {how}, the fabric feels {feel}, I would wear it again to {where}."
    for n, (cut, colour, how, feel, where) in enumerate(
        (c, k, h, f, w)
        for c in ("long", "short", "wrap")
        for k in ("navy", "emerald", "rust")
        for h in ("true to size", "a little tight")
        for f in ("soft", "sturdy", "light")
        for w in ("work", "a wedding")
    )
]
TOKENS = 10**18


@dataclass
class Place:
    anvil: Anvil
    deployment: Deployment
    hub: Hub
    pantry: Pantry
    folder: Path

    def trader(self, peer: str, number: int, **options: Any) -> AbstractAsyncContextManager[Trader]:
        key = bytes.fromhex(self.anvil.keys[number].removeprefix("0x"))
        folder = self.folder / peer[-4:]
        return open_trader(peer, key, self.hub, self.pantry, folder, self.anvil.rpc_url, self.deployment, **options)


@pytest.fixture(scope="module")
def chain() -> Iterator[tuple[Anvil, Deployment]]:
    if find_anvil() is None:
        pytest.skip("anvil is missing: npm ci in contracts/ brings it")
    with start_anvil() as anvil:
        yield anvil, deploy(anvil.rpc_url, anvil.keys[0], DeployParams())


@pytest.fixture
def place(chain: tuple[Anvil, Deployment], tmp_path: Path) -> Place:
    return Place(*chain, Hub(), Pantry(), tmp_path)


async def fund(place: Place, *traders: Trader) -> None:
    """1,000 tokens for each."""
    async with open_trader(
        "12D3KooWFaucet", bytes.fromhex(place.anvil.keys[0].removeprefix("0x")), Hub(), place.pantry,
        place.folder / "faucet", place.anvil.rpc_url, place.deployment,
    ) as faucet:  # fmt: skip
        for trader in traders:
            call = faucet.chain.token.transfer(trader.account.address, 1_000 * TOKENS)
            await faucet.transactor.once(f"fund:{trader.account.address}", call)


async def meet(seller: Trader, buyer: Trader, place: Place) -> str:
    """Fund both, let the seller offer, and let the buyer hear of it; the offer's id."""
    await fund(place, seller, buyer)
    await buyer.gossip.follow("fashion")
    await seller.own(TEXTS)
    listed = await seller.offers.publish("fashion", "Dresses, reviewed")
    for _ in range(3):  # the blocks whose hash chooses the sample
        place.anvil.call("evm_mine")
    with trio.fail_after(5):
        while buyer.catalog.get(listed.item.id, Offer) is None:
            await trio.sleep(0.01)
    return listed.item.id


async def test_an_honest_sale_brings_the_records_and_the_money(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        price = int(bob.offers.get(offer).body.price_wei)
        before = await bob.chain.token.balance(bob.account.address)
        sample = await bob.desk.sample(offer, None)
        assert sample.ok, sample.reasons
        deal = await bob.desk.buy(offer, price)
        assert await bob.over(deal) == "settled"
        view = await bob.desk.view(deal)
        assert [step.state for step in view.steps] == [
            "chosen", "fetched", "sampled", "locking", "locked", "keyed", "verified", "confirming", "settled",
        ]  # fmt: skip
        assert [(tx.step, tx.state) for tx in view.txs] == [("lock", "done")]  # the seller brought his confirmation
        assert view.records == (await alice.shard.stats()).records == (await bob.shard.stats()).records
        record = (await bob.shard.list(limit=1))[0]
        assert (record.origin, record.owner, record.deal) == ("bought", alice.account.address, deal)
        assert await bob.chain.token.balance(bob.account.address) == before - price
        number = alice.offers.get(offer).body.offer_no
        gained = await alice.chain.sale.earned(number) + await alice.chain.sale.held(number)
        assert gained == price - await alice.chain.sale.fee_of(price)
        assert await alice.over(f"sale-{view.sale}") == "paid"


async def test_a_seller_who_vanishes_after_the_lock_costs_time_only(place: Place) -> None:
    async with place.trader(BOB, 2) as bob:
        async with place.trader(ALICE, 1) as alice:
            offer = await meet(alice, bob, place)
            place.hub.away.add(ALICE)
        place.hub.away.clear()
        async with place.trader(ALICE, 1):  # there while payload and sample are judged, gone from the lock on
            before = await bob.chain.token.balance(bob.account.address)
            deal = await bob.desk.buy(offer, 1_000 * TOKENS)
            with trio.fail_after(30):
                while (await bob.deals.get(deal)).state not in ("locking",):  # type: ignore[union-attr]
                    await trio.sleep(0.002)
            place.hub.away.add(ALICE)
        with trio.fail_after(30):
            while not (await bob.deals.get(deal)).sale:  # type: ignore[union-attr]
                await trio.sleep(0.01)
        place.anvil.call("evm_increaseTime", 2 * 3_600)
        place.anvil.call("evm_mine")
        assert await bob.over(deal) == "refunded"
        assert await bob.chain.token.balance(bob.account.address) == before


async def test_a_buyer_who_stays_silent_pays_all_the_same(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice:
        async with place.trader(BOB, 2) as bob:
            offer = await meet(alice, bob, place)
            deal = await bob.desk.buy(offer, 1_000 * TOKENS)
            with trio.fail_after(30):
                while not (row := await bob.deals.get(deal)) or not row.sale:
                    await trio.sleep(0.002)
            sale = row.sale
        number = alice.offers.get(offer).body.offer_no
        if await alice.chain.sale.earned(number) == 0:
            for _ in range(3):  # to the margin before the deadline, then past the window to dispute
                place.anvil.call("evm_increaseTime", 3_300)
                place.anvil.call("evm_mine")
                await trio.sleep(1)
        assert await alice.over(f"sale-{sale}") == "paid"
        assert await alice.chain.sale.earned(number) > 0


async def test_a_payload_that_is_not_the_committed_one_is_refused_before_paying(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        cid = bob.offers.get(offer).body.cid
        spoilt = bytearray(place.pantry.held[cid])
        spoilt[-1] ^= 1
        place.pantry.held[cid] = bytes(spoilt)
        before = await bob.chain.token.balance(bob.account.address)
        deal = await bob.desk.buy(offer, 1_000 * TOKENS)
        assert await bob.over(deal) == "refused"
        assert "root" in (await bob.desk.view(deal)).reason
        assert await bob.chain.token.balance(bob.account.address) == before


async def test_what_cannot_be_bought_is_said_at_once(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        with pytest.raises(OwnOffer):
            await alice.desk.buy(offer, 1_000 * TOKENS)
        all_ = await bob.chain.token.balance(bob.account.address)
        await bob.transactor.once("spend", bob.chain.token.transfer(alice.account.address, all_))
        with pytest.raises(InsufficientFunds):
            await bob.desk.buy(offer, 1_000 * TOKENS)
        deal = None
        await alice.transactor.once("give", alice.chain.token.transfer(bob.account.address, all_))
        deal = await bob.desk.buy(offer, 1)
        assert await bob.over(deal) == "refused"
