from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.market.catalog.catalog import Catalog
from node.models.threads import limit_threads
from tests.support.items import ALICE, BOB, CAROL, Purse
from tests.support.models import Chain, Room, open_room, reviews
from tests.support.wire import Hub

limit_threads(1)  # the tests' matrices are small, and the machine is shared

CONTRIBUTORS = (Purse(21).address, Purse(22).address)


def registered() -> Chain:
    """A chain on which the contributors' datasets are registered: 7 and 8, as `reviews` numbers them."""
    chain = Chain()
    chain.owners.update(enumerate(CONTRIBUTORS, 7))
    return chain


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def chain() -> Chain:
    return registered()


@pytest.fixture
def catalogs() -> list[Catalog]:
    return []


@pytest.fixture
async def builder(hub: Hub, chain: Chain, catalogs: list[Catalog], tmp_path: Path) -> AsyncIterator[Room]:
    """Alice, who owns a third of the records and bought the others."""
    records = await reviews(360, ("", *CONTRIBUTORS))
    async with open_room(hub, ALICE, 1, tmp_path / "builder", chain, catalogs, records) as room:
        yield room


@pytest.fixture
async def consumer(hub: Hub, chain: Chain, catalogs: list[Catalog], tmp_path: Path) -> AsyncIterator[Room]:
    """Bob, who has nothing but a deposit."""
    async with open_room(hub, BOB, 2, tmp_path / "consumer", chain, catalogs) as room:
        yield room


@pytest.fixture
async def contributor(hub: Hub, chain: Chain, catalogs: list[Catalog], tmp_path: Path) -> AsyncIterator[Room]:
    """Carol, whose records (wallet 21) were bought."""
    async with open_room(hub, CAROL, 21, tmp_path / "contributor", chain, catalogs) as room:
        yield room
