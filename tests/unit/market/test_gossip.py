from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from node.market.errors import CatalogFull
from protocols.codec import encode
from protocols.demand import demand as demands
from protocols.demand.demand import Demand
from protocols.offers import offer as offers
from protocols.offers import withdrawal as withdrawals
from protocols.offers.offer import Offer
from tests.support.items import ALICE, BOB, CAROL, NOW, Purse, a_demand, a_withdrawal, an_offer, signed
from tests.support.wire import Hub
from tests.unit.market.conftest import OpenStall


async def until(true: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not true():
            await trio.sleep(0.01)


async def test_an_offer_reaches_a_node_that_follows_its_domain(open_stall: OpenStall) -> None:
    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob:
        await bob.gossip.follow("fashion")
        item = await alice.gossip.announce(offers.KIND, encode(an_offer()), "fashion")
        await until(lambda: bob.catalog.get(item.id, Offer))
        heard = bob.catalog.get(item.id, Offer)
        assert heard is not None
        assert heard.item.signer == alice.purse.address
        assert bob.catalog.get(item.id, Demand) is None


async def test_an_invalid_item_is_refused_at_the_first_hop(open_stall: OpenStall) -> None:
    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob:
        await bob.gossip.follow("fashion")
        expired = signed(an_offer(expires_at=NOW - 1), alice.purse, ALICE).raw
        await alice.wire.publish("/schwung/testing/offers/fashion", expired)
        await alice.wire.publish("/schwung/testing/offers/fashion", b"garbage")
        assert bob.wire.refused == [expired, b"garbage"]
        assert not list(bob.catalog.every(Offer))


async def test_who_was_away_catches_up_also_from_a_third_node(open_stall: OpenStall, hub: Hub) -> None:
    hub.away.add(CAROL)
    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob, open_stall(CAROL, 3) as carol:
        await bob.gossip.follow("fashion")
        for number in range(1, 151):  # more than two pages
            await alice.gossip.announce(offers.KIND, encode(an_offer(offer_no=number)), "fashion")
        await until(lambda: len(list(bob.catalog.every(Offer))) == 150)
        hub.away = {ALICE}
        await until(lambda: len(list(carol.catalog.every(Offer))) == 150)


async def test_a_withdrawal_counts_only_from_the_signer(open_stall: OpenStall) -> None:
    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob:
        await bob.gossip.follow("fashion")
        item = await alice.gossip.announce(offers.KIND, encode(an_offer()), "fashion")
        await until(lambda: bob.catalog.get(item.id, Offer))
        await bob.gossip.announce(withdrawals.KIND, encode(a_withdrawal(item)), "fashion")
        assert bob.catalog.get(item.id, Offer)
        await alice.gossip.announce(withdrawals.KIND, encode(a_withdrawal(item)), "fashion")
        await until(lambda: bob.catalog.get(item.id, Offer) is None)
        assert await bob.catalog.admit(item.raw, ALICE) is None, "a withdrawn item does not come back"


async def test_a_restart_knows_what_was_heard_and_withdrawn(open_stall: OpenStall) -> None:
    async with open_stall(ALICE, 1) as alice:
        kept = await alice.gossip.announce(offers.KIND, encode(an_offer(offer_no=1)), "fashion")
        gone = await alice.gossip.announce(offers.KIND, encode(an_offer(offer_no=2)), "fashion")
        await alice.gossip.announce(withdrawals.KIND, encode(a_withdrawal(gone)), "fashion")
    async with open_stall(ALICE, 1) as again:
        assert [listed.item.id for listed in again.catalog.every(Offer)] == [kept.id]
        assert again.gossip.domains == ["fashion"]


async def test_expired_items_leave(open_stall: OpenStall) -> None:
    async with open_stall(ALICE, 1) as alice:
        item = await alice.gossip.announce(demands.KIND, encode(a_demand()), "fashion")
        assert alice.catalog.get(item.id, Demand)
        alice.now = NOW + 3_601
        assert alice.catalog.get(item.id, Demand) is None
        assert await alice.catalog.sweep() == 1


async def test_one_signer_cannot_fill_the_catalogue(open_stall: OpenStall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.market.catalog.MAX_ITEMS_A_SIGNER", 3)
    async with open_stall(ALICE, 1) as alice:
        greedy = Purse(9)
        for number in range(1, 4):
            await alice.catalog.admit(signed(an_offer(offer_no=number), greedy, BOB).raw, BOB)
        with pytest.raises(CatalogFull):
            await alice.catalog.admit(signed(an_offer(offer_no=9), greedy, BOB).raw, BOB)
        await alice.catalog.admit(signed(an_offer(offer_no=9), Purse(10), CAROL).raw, CAROL)
