from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio

from node.journal import open_journal
from node.journal.catalog import CatalogStore
from node.market.catalog.catalog import Catalog, Space
from node.market.gossip import Gossip
from node.market.kinds import Context
from node.observe.events import EventBus
from protocols.ids import PeerId
from tests.support.items import CHAIN_ID, NETWORK, NOW, Purse, an_offer
from tests.support.wire import Hub, Wire

DIM = 32  # of the embedding space that these nodes rank in


class Stall:
    """One node's market without a node around it."""

    def __init__(self, wire: Wire, purse: Purse, store: CatalogStore) -> None:
        self.now = NOW
        self.wire = wire
        self.purse = purse
        self.context = Context(NETWORK, CHAIN_ID)
        self.events = EventBus()
        self.catalog = Catalog(store, self.context, lambda: self.now, space=Space(an_offer().model_id, DIM))
        self.gossip = Gossip(self.catalog, store, wire, purse, self.context, self.events)


OpenStall = Callable[[PeerId, int], AbstractAsyncContextManager[Stall]]


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def open_stall(hub: Hub, tmp_path: Path) -> OpenStall:
    @asynccontextmanager
    async def opened(peer: PeerId, key: int) -> AsyncIterator[Stall]:
        async with open_journal(tmp_path / f"{key}.db") as journal, trio.open_nursery() as nursery:
            stall = Stall(hub.wire(peer), Purse(key), CatalogStore(journal))
            await stall.catalog.load()
            await nursery.start(stall.gossip.serve)
            yield stall
            hub.leave(stall.wire)
            nursery.cancel_scope.cancel()

    return opened
