"""Outlines: fetched beside a search, used by the next one, and shown of open offers only."""

from __future__ import annotations

import pytest
import trio

from protocols.codec import decode, encode
from protocols.search.outline import MAX_REPLY_BYTES, PROTOCOL, OutlineReply, OutlineRequest
from tests.integration.test_exchange import Place, chain, meet, place
from tests.support.items import ALICE, BOB
from tests.support.trader import Trader

__all__ = ["chain", "place"]  # fixtures

pytestmark = pytest.mark.chain


async def ask(bob: Trader, offer: str) -> OutlineReply:
    request = encode(OutlineRequest(offer=offer))
    raw = await bob.wire.request(ALICE, PROTOCOL, request, timeout_s=10, max_reply_bytes=MAX_REPLY_BYTES)
    return decode(raw, OutlineReply, max_bytes=MAX_REPLY_BYTES)


async def test_a_search_learns_the_outline_of_an_offer_and_forgets_it_with_the_offer(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        records = bob.offers.get(offer).body.records
        outlines = bob.search._shelving._outlines
        assert outlines.of(offer) is None
        await bob.search.run("navy dress", domain="fashion", limit=3)
        with trio.fail_after(10):
            while outlines.of(offer) is None:
                await trio.sleep(0.01)
        found = outlines.of(offer)
        assert found is not None
        assert found.records.sum() == pytest.approx(records)
        assert found.records.min() >= 4, "the floor of tests.support.trader"
        assert len(found.axes), "an outline says more than a sketch"
        assert (await bob.search.run("navy dress", domain="fashion", limit=3)).answered == 1
        await alice.offers.withdraw(offer)
        with trio.fail_after(10):
            while bob.catalog.knows(offer) and (await bob.search.run("dress", domain="fashion", limit=3)).asked:
                await trio.sleep(0.01)
        assert outlines.of(offer) is None
        assert "no open offer" in (await ask(bob, offer)).refused


async def test_what_is_not_on_offer_is_in_no_outline(place: Place) -> None:
    async with place.trader(ALICE, 1) as alice, place.trader(BOB, 2) as bob:
        offer = await meet(alice, bob, place)
        told = await ask(bob, offer)
        await alice.own([f"A private note {n} about bread without kneading, flour and time." for n in range(40)])
        again = await ask(bob, offer)
        assert sum(one.records for one in told.regions) == bob.offers.get(offer).body.records
        assert again.regions == told.regions
        assert "no open offer" in (await ask(bob, "0" * 64)).refused
