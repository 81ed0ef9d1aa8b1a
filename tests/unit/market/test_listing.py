"""`offers.list`: filtered, ranked, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node.feedback.standing import Standing
from node.journal import open_journal
from node.journal.catalog import CatalogStore
from node.market.catalog.catalog import Catalog, Space
from node.market.kinds import Context
from node.market.search.sketch import closeness, sketch
from node.rpc.methods import offers
from protocols.quality import WEIGHTS, Quality
from tests.support.items import ALICE, CHAIN_ID, NETWORK, NOW, Purse, an_offer, signed
from tests.unit.market.conftest import DIM
from tests.unit.market.test_atlas import points

List = Callable[..., Any]


class Fair:
    """Sellers and standings of which nothing is known."""

    def weight(self, _: str) -> float:
        return 1.0

    def known(self, _: str) -> None:
        return None

    def of(self, _: str) -> Standing:
        return Standing()


class Embedder:
    model_id = an_offer().model_id
    dim = DIM

    async def embed(self, texts: list[str], *, query: bool = False) -> np.ndarray:
        return np.stack([points(1, int(text))[0] for text in texts])


async def nowhere(_domain: str) -> None:
    return None


@pytest.fixture
async def listing(tmp_path: Path) -> AsyncIterator[tuple[List, dict[str, Any]]]:
    """The method, and what is on offer by id."""
    async with open_journal(tmp_path / "journal.db") as journal:
        space = Space(Embedder.model_id, DIM)
        catalog = Catalog(CatalogStore(journal), Context(NETWORK, CHAIN_ID), lambda: NOW, space=space)
        made = {}
        for number in range(1, 41):
            offer = an_offer(
                offer_no=number,
                domain=("food", "fashion")[number % 2],
                licence=("MIT", "CC0-1.0", "CC-BY-4.0")[number % 3],
                price_wei=str(number * 10**18),
                quality=Quality(**dict.fromkeys(WEIGHTS, number * 20_000)),
                created_at=NOW - number % 7,
                sketch=sketch(points(40, number)),
            )
            item = signed(offer, Purse(1 + number % 4), ALICE)
            made[item.id] = (item.signer, offer)
            await catalog.admit(item.raw, None)
        fair: Any = Fair()
        desk = offers.methods(None, catalog, fair, fair, Embedder(), nowhere, lambda: Purse(2).address)  # type: ignore[arg-type]
        yield next(method.call for method in desk if method.name == "offers.list"), made


CONDITIONS: list[tuple[dict[str, Any], Callable[[str, Any], bool]]] = [
    ({}, lambda _, o: True),
    ({"domain": "food"}, lambda _, o: o.domain == "food"),
    ({"licence": "MIT", "domain": "food"}, lambda _, o: o.licence == "MIT" and o.domain == "food"),
    ({"max_price": str(10**19)}, lambda _, o: int(o.price_wei) <= 10**19),
    ({"min_quality": 500_000}, lambda _, o: o.quality.overall >= 500_000),
    ({"mine": True}, lambda who, _: who == Purse(2).address),
    ({"mine": False, "min_quality": 300_000}, lambda who, o: who != Purse(2).address and o.quality.overall >= 300_000),
    ({"domain": "games"}, lambda _, o: False),
]


@pytest.mark.parametrize(("given", "meant"), CONDITIONS)
async def test_every_page_holds_what_is_meant_in_its_order(
    listing: tuple[List, dict[str, Any]], given: dict[str, Any], meant: Callable[[str, Any], bool]
) -> None:
    ask, made = listing
    fitting = [id for id, (who, offer) in made.items() if meant(who, offer)]
    query = points(1, 77)[0]
    newest = sorted(fitting, key=lambda id: (-made[id][1].created_at, id))
    nearest = sorted(fitting, key=lambda id: -closeness(query, made[id][1].sketch))
    for asked, right in (({}, newest), ({"query": "77"}, nearest)):
        found: list[str] = []
        after = None
        while True:
            page = await ask({**given, **asked, "limit": 7, "after": after}, None)
            assert len(page["items"]) <= 7
            found += [one["offer"] for one in page["items"]]
            after = page["next"]
            if after is None:
                break
        assert found == right
