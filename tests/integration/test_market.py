"""What is on offer and what is wanted, between two traders on a real chain: publish, find, want, rate, be rewarded."""

from __future__ import annotations

import pytest
import trio

from node.feedback.errors import BadRating, NoTicket
from node.journal.publications import Publications
from node.market.draft import Filter
from node.market.errors import NotFound, NothingToSell, NotMine
from protocols.demand.demand import Demand
from protocols.feedback.rating import Rating
from protocols.offers.offer import Offer
from tests.integration.test_exchange import TEXTS, TOKENS, Place, chain, meet, place
from tests.support.items import ALICE, BOB
from tests.support.trader import Trader

__all__ = ["chain", "place"]  # fixtures

pytestmark = pytest.mark.chain


async def heard(trader: Trader, id: str, kind: type) -> None:
    with trio.fail_after(10):
        while trader.catalog.get(id, kind) is None:
            await trio.sleep(0.01)


@pytest.mark.parametrize("state", ["sealed", "registered", "offered"])
async def test_a_publication_that_died_is_finished_after_a_restart(
    place: Place, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        pass

    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        await meet(alice, bob, place)
        await alice.own(
            [f"Another text about shoes that fit well, number {n}, worn twice." for n in range(30)], "shoes"
        )
        advance, begin = Publications.advance, Publications.begin

        async def dying(self: Publications, publication: str, to: str, **fields: int | str) -> object:
            moved = await advance(self, publication, to, **fields)  # type: ignore[arg-type]
            if to == state:
                raise Died
            return moved

        async def dying_at_birth(self: Publications, row: object) -> None:
            await begin(self, row)  # type: ignore[arg-type]
            if state == "sealed":
                raise Died

        monkeypatch.setattr(Publications, "advance", dying)
        monkeypatch.setattr(Publications, "begin", dying_at_birth)
        with pytest.raises(Died):
            await alice.offers.publish("shoes", "Shoes, reviewed")
        monkeypatch.undo()
        (left,) = [row for row in await alice.publications.all() if row.state != "announced"]
        assert left.state == state
    async with place.trader(ALICE, 1) as again, place.trader(BOB, 2) as bob:
        (done,) = [row for row in await again.publications.all() if row.publication == left.publication]
        assert done.state == "announced"
        await bob.gossip.follow("shoes")
        await heard(bob, done.offer, Offer)
        terms = await bob.chain.sale.offer_terms(done.offer_no)
        assert terms.seller == again.account.address
        assert str(terms.price_wei) == done.price_wei
        steps = await again.desk._transactions.under(f"publication:{done.publication}:")
        assert [step.key.rpartition(":")[2] for step in steps] == ["register", "offer"], "each step once"


async def test_what_may_not_be_sold_is_not(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        with pytest.raises(NothingToSell, match="no own record"):
            await alice.offers.publish("shoes", "Nothing here")
        with pytest.raises(NothingToSell, match="licence"):
            await alice.offers.publish("fashion", "Wrong licence", licence="MIT")
        with pytest.raises(NothingToSell):
            await alice.offers.publish("fashion", "Wrong language", wanted=Filter(language="de"))
        deal = await bob.desk.buy(offer, 1_000 * TOKENS)
        assert await bob.over(deal) == "settled"
        with pytest.raises(NothingToSell, match="no own record"):
            await bob.offers.publish("fashion", "Resold without a right")


async def test_a_withdrawn_offer_is_gone_everywhere_and_cannot_be_locked(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        with pytest.raises(NotMine):
            await bob.offers.withdraw(offer)
        number = alice.offers.get(offer).body.offer_no
        await alice.offers.withdraw(offer)
        with trio.fail_after(10):
            while bob.catalog.get(offer, Offer) is not None:
                await trio.sleep(0.01)
        with pytest.raises(NotFound):
            await bob.desk.buy(offer, 1_000 * TOKENS)
        assert not (await bob.chain.sale.offer_terms(number)).is_open
        assert alice.offers.offer_of((await alice.shard.list(limit=1))[0].id) is None
        assert await alice.rewards.list() == [], "the bond stays while the last sale may still be disputed"
        bond = (await bob.chain.sale.offer_terms(number)).bond_wei
        place.anvil.call("evm_increaseTime", await alice.chain.sale.bond_window() + 100)
        place.anvil.call("evm_mine")
        before = await alice.chain.token.balance(alice.account.address)
        assert [claim.source for claim in await alice.rewards.claim()] == [f"bond:{number}", "sales"]
        assert await alice.chain.token.balance(alice.account.address) == before + bond
        assert await alice.rewards.list() == []


async def test_a_search_finds_a_peers_records_by_preview_only(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        found = await bob.search.run("emerald wrap dress for a wedding", domain="fashion", limit=5)
        assert (found.asked, found.answered) == (1, 1)
        assert found.items
        assert {hit.offer for hit in found.items} == {offer}
        assert "emerald" in found.items[0].text
        assert all(len(hit.text) <= 97 and hit.text not in TEXTS for hit in found.items), "previews, not the goods"
        assert (await bob.search.run("emerald", domain="fashion", limit=5, max_peers=0)).items == []
        await alice.offers.withdraw(offer)
        again = await bob.search.run("emerald wrap dress", domain="fashion", limit=5)
        assert not again.items, "what is not on offer is not told"


async def test_a_want_meets_an_offer_and_its_text_stays_at_home(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        await alice.gossip.follow("fashion")
        want = await bob.demands.post("a navy dress that fits true to size", "fashion", 1_000 * TOKENS)
        with bob.events.subscribe(["matches"]) as matches:
            offer = await meet(alice, bob, place)
            with trio.fail_after(10):
                event = await anext(aiter(matches))
        assert (event.data["demand"], event.data["offer"]) == (want.item.id, offer)
        assert [match.offer.item.id for match in await bob.demands.matches(want.item.id)] == [offer]
        await heard(alice, want.item.id, Demand)
        raw = alice.catalog.get(want.item.id, Demand)
        assert raw is not None
        assert b"navy" not in raw.item.raw
        assert alice.demands.text_of(want.item.id) == ""
        await bob.demands.withdraw(want.item.id)
        with pytest.raises(NotFound):
            await bob.demands.matches(want.item.id)


async def test_a_want_is_held_against_records_that_are_on_no_offer_yet(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        await alice.own(TEXTS)
        await alice.gossip.follow("fashion")
        with alice.events.subscribe(["matches"]) as matches:
            want = await bob.demands.post(TEXTS[7], "fashion", 1_000 * TOKENS)
            await bob.demands.post("a recipe for sourdough bread, baked overnight", "fashion", 1_000 * TOKENS)
            with trio.fail_after(10):
                event = await anext(aiter(matches))
        assert event.data["demand"] == want.item.id
        assert event.data["unoffered"] == event.data["records"] >= 3
        assert event.data["offers"] == []
        offer = await meet(alice, bob, place)
        await heard(alice, want.item.id, Demand)
        with alice.events.subscribe(["matches"]) as matches, bob.events.subscribe(["matches"]) as met:
            again = await bob.demands.post(TEXTS[7], "fashion", 2_000 * TOKENS)
            with trio.fail_after(10):
                event, at_home = await anext(aiter(matches)), await anext(aiter(met))
        assert event.data["demand"] == again.item.id
        assert (event.data["unoffered"], event.data["offers"]) == (0, [offer]), "what is on offer is found there"
        assert (at_home.data["demand"], at_home.data["offer"]) == (again.item.id, offer), "it was known already"


async def test_only_who_paid_rates_is_rewarded_once_and_moves_the_price(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        with pytest.raises(NoTicket):
            await bob.feedback.give(offer, "never bought", 5)
        deal = await bob.desk.buy(offer, 1_000 * TOKENS)
        assert await bob.over(deal) == "settled"
        before = await bob.offers.quote(offer)
        fee = await bob.chain.sale.fee_of(int(bob.offers.get(offer).body.price_wei))
        with pytest.raises(BadRating):
            await bob.feedback.give(offer, deal, 6)
        given = await bob.feedback.give(offer, deal, 5, "as described", "used")
        assert given.state == "rewarded"
        assert 0 < int(given.reward_wei) < fee, "a reward stays below the fee: rating oneself does not pay"
        assert await bob.offers.quote(offer) > before
        dataset = bob.offers.get(offer).body.dataset
        for trader in (alice, bob):
            await heard(trader, given.feedback, Rating)
            await trader.standings.read()
            assert trader.standings.of(offer).ratings == 1
            assert trader.standings.weight(offer) > 1 < trader.standings.lesson(dataset)
        twice = await bob.feedback.give(offer, deal, 1, "again")
        await heard(alice, twice.feedback, Rating)
        want = await bob.demands.post("a navy dress that fits true to size", "fashion", 1_000 * TOKENS)
        rival = await alice.offers.publish("fashion", "The same once more")
        bob.demands.weigh_by(bob.standings.weight)
        await heard(bob, rival.item.id, Offer)
        await heard(bob, want.item.id, Demand)
        await bob.standings.read()
        assert [m.offer.item.id for m in await bob.demands.matches(want.item.id)] == [rival.item.id, offer], (
            "rated below"
        )
        for trader, lesson in ((alice, 0.5 + 1 / 3), (bob, 0.0)):  # his last word, and he does not train on it again
            await trader.standings.read()
            assert trader.standings.weight(offer) < 1
            assert trader.standings.lesson(dataset) == pytest.approx(lesson)
        assert (twice.state, twice.reward_wei) == ("unrewarded", "0")
        await heard(alice, given.feedback, Rating)
        views = {view.feedback: view for view in await alice.feedback.list(offer)}
        assert views[given.feedback].ticket_ok
        owed = {owed.source: int(owed.amount_wei) for owed in await bob.rewards.list()}
        assert owed == {"feedback": int(given.reward_wei)}
        balance = await bob.chain.token.balance(bob.account.address)
        assert [claim.source for claim in await bob.rewards.claim()] == ["feedback"]
        assert await bob.chain.token.balance(bob.account.address) == balance + int(given.reward_wei)
        assert await bob.rewards.list() == []
        assert [claim.source for claim in await alice.rewards.claim()] == ["sales"]


async def test_a_rating_with_a_strangers_ticket_is_refused_at_the_border(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        deal = await bob.desk.buy(offer, 1_000 * TOKENS)
        assert await bob.over(deal) == "settled"
        sale = (await bob.desk.view(deal)).sale
        body = alice.feedback._body(
            domain="fashion", subject_kind="offer", subject=offer, ticket=sale, rating=5, comment="", outcome=""
        )
        forged = await alice.gossip.announce("feedback", body, "fashion")
        (view,) = await alice.feedback.list(offer)
        assert not view.ticket_ok, "the seller praises himself with his buyer's ticket"
        given = await bob.feedback.give(offer, deal, 2, "not as described")
        await heard(alice, given.feedback, Rating)
        assert [view.feedback for view in await bob.feedback.list(offer)] == [given.feedback]
        assert bob.catalog.get(forged.id, Rating) is None
