"""Previews that cost: found for nothing by score, bought by voucher for the best hits only, within a budget."""

from __future__ import annotations

import pytest
import trio

from node.market.search.search import SearchResult
from protocols.search.messages import LANE, PREVIEWS
from tests.integration.test_exchange import TOKENS, Place, chain, meet, place
from tests.support.items import ALICE, BOB
from tests.support.trader import Trader

__all__ = ["chain", "place"]  # fixtures

pytestmark = pytest.mark.chain

PRICE_WEI = TOKENS // 1_000


async def fund(bob: Trader) -> None:
    """Put ten tokens where vouchers are paid from."""
    await bob.transactor.allow(bob.chain.bank.address, 10 * TOKENS)
    await bob.transactor.once("deposit", bob.chain.bank.deposit(bob.account.address, 10 * TOKENS))


async def look(bob: Trader, *, limit: int, budget_wei: int) -> SearchResult:
    return await bob.search.run(
        "emerald wrap dress for a wedding", domain="fashion", limit=limit, budget_wei=budget_wei
    )


async def test_a_budget_opens_the_best_hits_and_no_more(place: Place) -> None:
    async with place.trader(ALICE, 1, preview_wei=PRICE_WEI) as alice, place.trader(BOB, 2) as bob:
        await meet(alice, bob, place)
        await fund(bob)
        unpaid = await look(bob, limit=5, budget_wei=0)
        assert (len(unpaid.items), unpaid.paid) == (5, "0")
        assert not any(hit.text for hit in unpaid.items), "scores are free, texts are not"
        some = await look(bob, limit=5, budget_wei=3 * PRICE_WEI + 1)
        assert some.paid == str(3 * PRICE_WEI)
        assert [bool(hit.text) for hit in some.items] == [True, True, True, False, False]
        assert "emerald" in some.items[0].text
        whole = await look(bob, limit=5, budget_wei=TOKENS)
        assert whole.paid == str(5 * PRICE_WEI)
        assert await bob.lanes.promised(alice.account.address, LANE) == 8 * PRICE_WEI
        (held,) = await alice.till.pending()
        assert (held.cumulative_wei, held.lane) == (8 * PRICE_WEI, LANE)


async def test_who_cannot_pay_still_finds(place: Place) -> None:
    async with place.trader(ALICE, 1, preview_wei=PRICE_WEI) as alice, place.trader(BOB, 5) as bob:
        await meet(alice, bob, place)
        found = await look(bob, limit=3, budget_wei=TOKENS)
        assert (len(found.items), found.paid) == (3, "0")
        assert not any(hit.text for hit in found.items)
        assert await alice.till.pending() == []


async def test_an_answer_lost_after_the_payment_is_not_paid_twice(place: Place) -> None:
    async with place.trader(ALICE, 1, preview_wei=PRICE_WEI) as alice, place.trader(BOB, 2) as bob:
        await meet(alice, bob, place)
        await fund(bob)
        serve = alice.wire._handlers[PREVIEWS]

        async def lose(peer: object, body: bytes) -> bytes:
            await serve(peer, body)  # type: ignore[arg-type]
            return b"\xc1"

        alice.wire._handlers[PREVIEWS] = lose
        assert (await look(bob, limit=4, budget_wei=TOKENS)).paid == "0"
        alice.wire._handlers[PREVIEWS] = serve
        again = await look(bob, limit=4, budget_wei=TOKENS)
        assert all(hit.text for hit in again.items)
        # the first four were served and their answer was lost: Alice's account says so, and Bob did sign for them
        assert await bob.lanes.promised(alice.account.address, LANE) == 8 * PRICE_WEI
        third = await look(bob, limit=4, budget_wei=TOKENS)
        assert third.paid == str(4 * PRICE_WEI)
        assert await bob.lanes.promised(alice.account.address, LANE) == 12 * PRICE_WEI


async def test_a_searcher_who_lost_his_journal_goes_on_from_what_he_signed(place: Place) -> None:
    async with place.trader(ALICE, 1, preview_wei=PRICE_WEI) as alice, place.trader(BOB, 2) as bob:
        await meet(alice, bob, place)
        await fund(bob)
        for _ in range(3):
            await look(bob, limit=4, budget_wei=TOKENS)
        await bob.lanes._promises._journal.write(lambda conn: conn.execute("DELETE FROM voucher_promises"))
        again = await look(bob, limit=4, budget_wei=TOKENS)
        assert all(hit.text for hit in again.items)
        assert await bob.lanes.promised(alice.account.address, LANE) == 16 * PRICE_WEI
        (held,) = await alice.till.pending()
        assert held.cumulative_wei == 16 * PRICE_WEI


async def test_an_owner_who_takes_the_money_and_shows_nothing_gets_one_purchase(place: Place) -> None:
    async with place.trader(ALICE, 1, preview_wei=PRICE_WEI) as alice, place.trader(BOB, 2) as bob:
        await meet(alice, bob, place)
        await fund(bob)

        async def silent(peer: object, body: bytes) -> bytes:
            return b"\xc1"

        alice.wire._handlers[PREVIEWS] = silent
        for _ in range(5):
            assert (await look(bob, limit=4, budget_wei=TOKENS)).paid == "0"
        assert await bob.lanes.promised(alice.account.address, LANE) == 4 * PRICE_WEI, "one purchase ahead, ever"


async def test_hits_are_told_as_they_come(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        await meet(alice, bob, place)
        with bob.events.subscribe(["search"]) as heard:
            found = await bob.search.run("navy dress", domain="fashion", limit=3, progress="mine")
            with trio.fail_after(5):
                events = [await anext(aiter(heard)) for _ in range(2)]
        assert [event.data["peer"] for event in events] == [BOB, ALICE]
        assert {event.data["progress"] for event in events} == {"mine"}
        assert len(events[1].data["items"]) == len(found.items) == 3  # type: ignore[arg-type]
