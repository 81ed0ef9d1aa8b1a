"""Demands at home: what leaves, what stays, how they end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from node.journal import open_journal
from node.journal.demands import Demands
from node.market.demands import DemandDesk
from node.market.errors import NotFound, NotMine
from node.market.search.sketch import dequantise, quantise
from protocols.codec import encode
from protocols.demand.demand import Demand
from protocols.errors import ProtocolError
from protocols.offers import offer as offers
from protocols.offers.offer import MAX_LIFETIME_S, Centroid
from tests.support.embedder import HashEmbedder
from tests.support.items import ALICE, BOB, NOW, an_offer
from tests.unit.market.conftest import OpenStall, Stall

EMBEDDER = HashEmbedder()
TEXT = "a zanzibarian recipe for bread that needs no kneading"
LIFETIME_S = 600


class Home(Stall):
    """One who wants things."""

    store: Demands

    def desk(self, epsilon: float = 0) -> DemandDesk:
        return DemandDesk(
            embedder=EMBEDDER, store=self.store, catalog=self.catalog, gossip=self.gossip, context=self.context,
            events=self.events, clock=lambda: self.now, lifetime_s=LIFETIME_S, epsilon=epsilon,
        )  # fmt: skip


@pytest.fixture
async def home(open_stall: OpenStall, tmp_path: Path) -> AsyncIterator[Home]:
    async with AsyncExitStack() as stack:
        stall = await stack.enter_async_context(open_stall(ALICE, 1))
        journal = await stack.enter_async_context(open_journal(tmp_path / "own.db"))
        stall.__class__ = Home
        assert isinstance(stall, Home)
        stall.store = Demands(journal)
        yield stall


async def tell_offer(stall: Stall, number: int = 1, price: str = "5") -> str:
    vector = quantise((await EMBEDDER.embed([TEXT]))[0])
    body = an_offer(
        domain="food", model_id=EMBEDDER.model_id, offer_no=number, price_wei=price, created_at=stall.now,
        expires_at=stall.now + 10 * LIFETIME_S,
        sketch=[Centroid(vector=vector, weight=1_000_000, focus=1_000_000)],
    )  # fmt: skip
    return (await stall.gossip.announce(offers.KIND, encode(body), "food")).id


async def test_the_text_stays_at_home_and_noise_is_on_what_leaves(home: Home) -> None:
    plain, noisy = home.desk(), home.desk(epsilon=20)
    exact = (await EMBEDDER.embed([TEXT], query=True))[0]
    sent = [await desk.post(TEXT, "food", 10) for desk in (plain, noisy)]
    for one in sent:
        assert not any(word.encode() in one.item.raw for word in TEXT.split() if len(word) > 4)
    near, far = (float(dequantise(one.body.vector) @ exact) for one in sent)
    assert near > 0.99 > 0.9 > far
    assert plain.text_of(sent[0].item.id) == TEXT
    (row, _) = await home.store.all()
    assert (row.text, row.domain, row.max_price_wei, row.created_at) == (TEXT, "food", 10, NOW)


async def test_a_demand_ends_when_it_said(home: Home) -> None:
    desk = home.desk()
    short = await desk.post(TEXT, "food", 10, until=NOW + 5)
    usual = await desk.post(TEXT, "food", 11)
    offer = await tell_offer(home)
    assert [match.offer.item.id for match in await desk.matches(short.item.id)] == [offer]
    home.now += 6
    with home.events.subscribe(["matches"]) as told:
        later = await tell_offer(home, 2)
        with trio.fail_after(5):
            event = await anext(aiter(told))
        assert (event.data["demand"], event.data["offer"]) == (usual.item.id, later), "only of what is still wanted"
    with pytest.raises(NotFound):
        await desk.matches(short.item.id)
    with pytest.raises(NotMine):
        await desk.withdraw(short.item.id)
    home.now += LIFETIME_S
    assert list(home.catalog.every(Demand)) == []
    for until in (home.now - 1, home.now + MAX_LIFETIME_S + 1):
        with pytest.raises(ProtocolError):
            await desk.post(TEXT, "food", 10, until=until)
    assert len(await home.store.all()) == 2, "what breaks a rule is not remembered either"


async def test_what_costs_more_than_one_would_pay_is_no_match(home: Home) -> None:
    desk = home.desk()
    await tell_offer(home, 1, price="11")
    just = await tell_offer(home, 2, price="10")
    with home.events.subscribe(["matches"]) as told:
        want = await desk.post(TEXT, "food", 10)
        with trio.fail_after(5):
            event = await anext(aiter(told))
    assert event.data["offer"] == just, "told when it was posted: the offer was there before"
    assert [match.offer.item.id for match in await desk.matches(want.item.id)] == [just]


async def test_a_withdrawn_demand_is_gone_everywhere_and_after_a_restart(home: Home, open_stall: OpenStall) -> None:
    async with open_stall(BOB, 2) as bob:
        await bob.gossip.follow("food")
        desk = home.desk()
        want = await desk.post(TEXT, "food", 10)
        with trio.fail_after(5):
            while bob.catalog.get(want.item.id, Demand) is None:
                await trio.sleep(0.01)
        with pytest.raises(NotMine):
            await home.desk().withdraw("0" * 64)
        await desk.withdraw(want.item.id)
        with trio.fail_after(5):
            while bob.catalog.get(want.item.id, Demand) is not None:
                await trio.sleep(0.01)
        again = home.desk()
        await again.load()
        with pytest.raises(NotMine):
            await again.withdraw(want.item.id)


async def test_a_demand_that_a_crash_cut_off_can_be_withdrawn(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told after it is written down, so what others know is always ours to take back."""

    class Died(Exception):
        pass

    desk, tell = home.desk(), home.gossip.retell

    async def dying(raw: bytes, topic: str, domain: str) -> None:
        await tell(raw, topic, domain)
        raise Died

    monkeypatch.setattr(home.gossip, "retell", dying)
    with pytest.raises(Died):
        await desk.post(TEXT, "food", 10)
    monkeypatch.undo()
    again = home.desk()
    await again.load()
    (listed,) = home.catalog.every(Demand)
    assert again.text_of(listed.item.id) == TEXT
    await again.withdraw(listed.item.id)
    assert list(home.catalog.every(Demand)) == []
