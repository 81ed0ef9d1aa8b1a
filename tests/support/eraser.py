"""A trader who can forget: real blocks in his folder beside the pantry that all share, and the erasure service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from contracts.params import Deployment
from node.blocks import EmbeddedBlocks, open_embedded
from node.exchange.forgetting import BoughtKeys
from node.journal import Journal
from node.journal.catalog import CatalogStore
from node.journal.erasures import Erasures
from node.journal.transactions import Transactions
from node.market.erasure import Erasure
from node.observe.events import EventBus
from protocols.ids import Cid, PeerId
from tests.support.trader import Pantry, Trader, open_trader
from tests.support.wire import Hub

Step = Callable[[str], Awaitable[None]]


class Cellar(Pantry):
    """Own blocks on the disk; what others hold is fetched from the pantry and kept."""

    def __init__(self, own: EmbeddedBlocks, pantry: Pantry) -> None:
        super().__init__()
        self.own = own
        self.pantry = pantry

    async def add(self, data: bytes) -> Cid:
        cid = await self.own.add(data)
        self.pantry.held[cid] = data
        return cid

    async def fetch(self, cid: Cid, *, providers: Sequence[PeerId], max_bytes: int, timeout_s: float) -> bytes:
        if await self.own.has(cid):
            return await self.own.fetch(cid, providers=providers, max_bytes=max_bytes, timeout_s=timeout_s)
        data = await self.pantry.fetch(cid, providers=providers, max_bytes=max_bytes, timeout_s=timeout_s)
        await self.own.add(data)
        await self.own.unpin(cid)
        return data

    async def has(self, cid: Cid) -> bool:
        return await self.own.has(cid)

    async def drop(self, cid: Cid) -> bool:
        return await self.own.drop(cid)


class Eraser:
    """A trader and his erasure."""

    def __init__(self, trader: Trader, erasure: Erasure, folder: Path, blocks: EmbeddedBlocks) -> None:
        self.trader = trader
        self.erasure = erasure
        self.folder = folder
        self.blocks = blocks

    def grep(self, what: bytes) -> list[Path]:
        """The files of the folder, all of them, that hold these bytes."""
        return [path for path in self.folder.rglob("*") if path.is_file() and what in path.read_bytes()]


def erasure_of(trader: Trader, journal: Journal, blocks: EmbeddedBlocks | Cellar, clock: Callable[[], int]) -> Erasure:
    """The product's service, joined as `node/layers.py` joins it."""
    erasure = Erasure(
        shard=trader.shard,
        blocks=blocks,
        chain=trader.chain,
        transactor=trader.transactor,
        offers=trader.offers,
        catalog=trader.catalog,
        catalog_store=CatalogStore(journal),
        publications=trader.publications,
        deals=trader.deals,
        transactions=Transactions(journal),
        store=Erasures(journal),
        events=EventBus(),
        clock=clock,
    )
    erasure.on_forget(BoughtKeys(trader.deals, blocks).forget)
    return erasure


@asynccontextmanager
async def open_eraser(
    peer: str, key: bytes, hub: Hub, pantry: Pantry, folder: Path, rpc_url: str, deployment: Deployment
) -> AsyncIterator[Eraser]:
    """As `open_trader`; what an erasure left undone on this machine is done first."""
    folder.mkdir(exist_ok=True)
    async with AsyncExitStack() as stack:
        blocks = await stack.enter_async_context(open_embedded(folder / "blocks", None))
        cellar = Cellar(blocks, pantry)
        trader = await stack.enter_async_context(open_trader(peer, key, hub, cellar, folder, rpc_url, deployment))
        erasure = erasure_of(trader, trader.publications._journal, cellar, lambda: 1_700_000_000)
        await erasure.resume(here_only=True)
        yield Eraser(trader, erasure, folder, blocks)
