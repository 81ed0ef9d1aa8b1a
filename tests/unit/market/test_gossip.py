from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from node.market.pace import Authors, Bucket
from protocols.catalog.messages import ITEMS, PROTOCOL
from protocols.codec import encode
from protocols.demand import demand as demands
from protocols.demand.demand import Demand
from protocols.ids import PeerId
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
        for number in range(1, 61):
            await alice.gossip.announce(offers.KIND, encode(an_offer(offer_no=number)), "fashion")
        await until(lambda: len(list(bob.catalog.every(Offer))) == 60)
        hub.away = {ALICE}
        await carol.gossip.follow("fashion")
        await until(lambda: len(list(carol.catalog.every(Offer))) == 60)


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


async def test_a_newer_item_on_the_same_subject_takes_the_place_of_its_elder(open_stall: OpenStall) -> None:
    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob:
        await bob.gossip.follow("fashion")
        old = await alice.gossip.announce(offers.KIND, encode(an_offer(title="old")), "fashion")
        await until(lambda: bob.catalog.get(old.id, Offer))
        new = await alice.gossip.announce(offers.KIND, encode(an_offer(title="new", created_at=NOW + 1)), "fashion")
        await until(lambda: bob.catalog.get(new.id, Offer))
        assert [listed.body.title for listed in bob.catalog.every(Offer)] == ["new"]
        assert await bob.catalog.admit(old.raw, ALICE) is None, "the elder does not come back"
        stranger = signed(an_offer(title="stolen", created_at=NOW + 1), Purse(9), CAROL)
        await bob.catalog.admit(stranger.raw, CAROL)
        assert bob.catalog.get(new.id, Offer), "another signer replaces nothing"
    async with open_stall(BOB, 2) as again:
        assert sorted(listed.body.title for listed in again.catalog.every(Offer)) == ["new", "stolen"]


async def test_an_item_on_another_domains_topic_is_refused(open_stall: OpenStall) -> None:
    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob:
        await bob.gossip.follow("food")
        item = signed(an_offer(), alice.purse, ALICE)
        await alice.wire.publish("/schwung/testing/offers/food", item.raw)
        await alice.wire.publish("/schwung/testing/demands/food", item.raw)
        assert bob.wire.refused == [item.raw, item.raw]


async def test_only_followed_domains_are_carried(open_stall: OpenStall, hub: Hub) -> None:
    async with open_stall(ALICE, 1) as alice:
        await alice.gossip.announce(offers.KIND, encode(an_offer(offer_no=1)), "fashion")
        other = await alice.gossip.announce(offers.KIND, encode(an_offer(offer_no=2, domain="food")), "food")
        async with open_stall(BOB, 2) as bob:
            await bob.gossip.follow("food")
            await until(lambda: list(bob.catalog.every(Offer)))
            await trio.sleep(0.1)
            assert [listed.item.id for listed in bob.catalog.every(Offer)] == [other.id]


async def test_a_domain_that_is_asked_about_is_known_when_the_answer_comes(open_stall: OpenStall, hub: Hub) -> None:
    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob:
        item = await alice.gossip.announce(offers.KIND, encode(an_offer()), "fashion")
        await bob.gossip.look_into("fashion")
        assert bob.catalog.get(item.id, Offer)
        assert bob.gossip.domains == ["fashion"]


async def test_a_neighbour_that_hangs_keeps_nobody_waiting(open_stall: OpenStall, hub: Hub) -> None:
    async def hang(peer: PeerId, body: bytes) -> bytes:
        await trio.sleep_forever()

    hub.away.add(BOB)  # who hears nothing by gossip
    async with open_stall(ALICE, 1) as alice, open_stall(CAROL, 3) as carol, open_stall(BOB, 2) as bob:
        item = await alice.gossip.announce(offers.KIND, encode(an_offer()), "fashion")
        carol.wire._handlers[PROTOCOL] = hang
        for domain in ("food", "shoes", "fashion"):
            await bob.gossip.follow(domain)
        hub.away.clear()
        with trio.fail_after(5):
            while bob.catalog.get(item.id, Offer) is None:
                await trio.sleep(0.01)


async def test_what_is_known_is_not_sent_again(open_stall: OpenStall, hub: Hub) -> None:
    async with open_stall(ALICE, 1) as alice, open_stall(BOB, 2) as bob:
        await bob.gossip.follow("fashion")
        for number in range(1, 6):
            await alice.gossip.announce(offers.KIND, encode(an_offer(offer_no=number)), "fashion")
        await until(lambda: len(list(bob.catalog.every(Offer))) == 5)
        sent: list[int] = []
        handler = alice.wire._handlers[ITEMS]

        async def heard(peer: PeerId, body: bytes) -> bytes:
            sent.append(len(body))
            return await handler(peer, body)

        alice.wire._handlers[ITEMS] = heard
        await trio.sleep(1.5)  # a round of catching up
        assert sent == []


async def test_an_author_who_tells_too_fast_is_refused_and_an_honest_burst_is_not(
    open_stall: OpenStall, autojump_clock: trio.testing.MockClock
) -> None:
    authors = Authors(rate=100, burst=1_000)
    taken = sum(authors.take(ALICE) for _ in range(5_000))
    assert taken == 1_000
    assert authors.take(BOB), "one author's haste is not another's"
    await trio.sleep(1)
    assert sum(authors.take(ALICE) for _ in range(500)) == 100
    pace, begun = Bucket(50, 20), trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(500):
            nursery.start_soon(pace.wait)
    assert trio.current_time() - begun == pytest.approx((500 - 20) / 50)


@pytest.mark.slow
async def test_ten_thousand_missed_items_are_read_in_seconds(open_stall: OpenStall) -> None:
    """On one core both sides included, most of it signatures: about 15 s with 10,000 different offers."""
    async with open_stall(ALICE, 1) as alice:
        purses = [Purse(100 + number) for number in range(4)]
        await alice.gossip.follow("fashion")
        made = [signed(an_offer(offer_no=n), purses[n % 4], ALICE).raw for n in range(1, 10_001)]
        for start in range(0, len(made), 500):
            await alice.catalog.keep([alice.catalog.examine(raw, ALICE) for raw in made[start : start + 500]])
        async with open_stall(BOB, 2) as bob:
            await bob.gossip.follow("fashion")
            with trio.fail_after(120):
                while len(list(bob.catalog.every(Offer))) < 10_000:
                    await trio.sleep(0.1)
