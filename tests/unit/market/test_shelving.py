from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

import node.market.search.outlining as outlining
import node.market.search.shelving as shelving
from node.journal import open_journal
from node.journal.catalog import CatalogStore
from node.market.catalog.catalog import Catalog, Listed, Space
from node.market.kinds import Context
from node.market.search.outline import outline
from node.market.search.outlining import Outlines
from node.market.search.shelving import Shelving
from node.market.search.sketch import sketch
from protocols.codec import decode, encode
from protocols.ids import PeerId
from protocols.offers.offer import Offer
from protocols.search.outline import PROTOCOL, OutlineReply, OutlineRequest, Region
from tests.support.items import ALICE, BOB, CAROL, CHAIN_ID, NETWORK, NOW, Purse, an_offer, signed
from tests.support.records import clustered
from tests.support.wire import Hub

DIM = 32
MODEL = "sha256:shelving:mean"
EACH = 40  # records an offer
VECTORS = clustered(8 * EACH, DIM, 8)


def own_vectors(number: int) -> object:
    return VECTORS[(number - 1) * EACH : number * EACH]


def peer_of(number: int) -> PeerId:
    return PeerId(ALICE[:-1] + "123456789"[number])


class Shop:
    """A searcher's shelves, and owners on a hub who show what a test has them show."""

    def __init__(self, catalog: Catalog, hub: Hub) -> None:
        self.catalog = catalog
        self.hub = hub
        self.outlines = Outlines(hub.wire(CAROL))
        self.shelving = Shelving(catalog, self.outlines, own=CAROL, model_id=MODEL, dim=DIM)
        self.asked: list[str] = []
        self.shown: dict[str, list[Region]] = {}

    async def offer(self, number: int, peer: PeerId, **changes: object) -> Listed[Offer]:
        """An offer that everybody knows and whose owner shows its outline."""
        vectors = own_vectors(number)
        offer = an_offer(
            offer_no=number,
            root=number.to_bytes(32, "big"),
            records=EACH,
            sketch=sketch(vectors),  # type: ignore[arg-type]
            model_id=MODEL,
            **changes,
        )
        item = signed(offer, Purse(number), peer)
        await self.catalog.admit(item.raw, peer)
        self.shown[item.id] = outline(vectors, 8)  # type: ignore[arg-type]
        return Listed(item=item, body=offer)

    def open(self, peer: PeerId) -> None:
        async def answer(_peer: PeerId, body: bytes) -> bytes:
            request = decode(body, OutlineRequest, max_bytes=1_000)
            self.asked.append(request.offer)
            return encode(OutlineReply(regions=self.shown.get(request.offer, []), refused="perhaps"))

        self.hub.wire(peer).serve(PROTOCOL, answer, max_request_bytes=1_000, concurrency=1)

    async def look(self, domain: str = "") -> shelving.Arranged:
        """As a search does."""
        arranged = await self.shelving.of(domain, VECTORS[0])
        self.shelving.outline(arranged, dict.fromkeys(arranged.shelves.peers, 1.0))
        await trio.testing.wait_all_tasks_blocked(0.05)
        return arranged


@asynccontextmanager
async def open_shop(folder: Path) -> AsyncIterator[Shop]:
    async with open_journal(folder / "journal.db") as journal, trio.open_nursery() as nursery:
        catalog = Catalog(CatalogStore(journal), Context(NETWORK, CHAIN_ID), lambda: NOW, space=Space(MODEL, DIM))
        shop = Shop(catalog, Hub())
        await nursery.start(shop.outlines.serve)
        yield shop
        nursery.cancel_scope.cancel()


async def test_outlines_are_fetched_once_and_take_the_place_of_sketches(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        one, two = await shop.offer(1, ALICE), await shop.offer(2, BOB)
        shop.open(ALICE)
        shop.open(BOB)
        first = await shop.look()
        assert (set(first.shelves.peers), len(first.shelves.axes)) == ({ALICE, BOB}, 0)
        second = await shop.look()
        assert len(second.shelves.axes) > 0
        assert second.shelves.records.sum() == pytest.approx(2 * EACH)
        assert await shop.look() is second, "arranged anew only when something has changed"
        assert sorted(shop.asked) == sorted([one.item.id, two.item.id])


async def test_own_offers_other_domains_and_other_models_stay_off_the_shelves(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.offer(1, ALICE)
        await shop.offer(2, CAROL)
        await shop.offer(3, BOB, domain="food")
        assert (await shop.look("fashion")).shelves.peers == (ALICE,)
        assert (await shop.look("food")).shelves.peers == (BOB,)
        assert set((await shop.look()).shelves.peers) == {ALICE, BOB}
        other = Shelving(shop.catalog, shop.outlines, own=CAROL, model_id="another", dim=DIM)
        assert (await other.of("", VECTORS[0])).shelves.peers == ()


async def test_who_shows_nothing_or_something_else_is_not_asked_at_every_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_shop(tmp_path) as shop:
        silent, false = await shop.offer(1, ALICE), await shop.offer(2, BOB)
        shop.shown[false.item.id] = outline(VECTORS[-EACH:], 8)
        del shop.shown[silent.item.id]
        shop.open(ALICE)
        shop.open(BOB)
        for _ in range(3):
            arranged = await shop.look()
        assert sorted(shop.asked) == sorted([silent.item.id, false.item.id])
        assert len(arranged.shelves.axes) == 0
        assert arranged.shelves.records.sum() == pytest.approx(2 * EACH, abs=0.1), "their sketches stand"
        monkeypatch.setattr(trio, "current_time", lambda now=trio.current_time: now() + outlining.AGAIN_S + 1)
        await shop.look()
        assert len(shop.asked) == 4


async def test_of_a_crowded_catalogue_the_nearest_offers_are_arranged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelving, "CROWDED", 5)
    monkeypatch.setattr(shelving, "CANDIDATES", 3)
    async with open_shop(tmp_path) as shop:
        for number in range(1, 9):
            await shop.offer(number, peer_of(number))
        chosen = set()
        for number in (1, 5, 8):
            mean = own_vectors(number).mean(axis=0)  # type: ignore[attr-defined]
            arranged = await shop.shelving.of("", mean / np.linalg.norm(mean))
            assert len(arranged.shelves.peers) == 3
            assert peer_of(number) in arranged.shelves.peers
            chosen.add(arranged.shelves.peers)
        assert len(chosen) > 1, "other queries, other shelves"
