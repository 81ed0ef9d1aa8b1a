"""The embedded block store: files in the node's folder, Bitswap over the node's own host.

Only blocks that we made or asked for are stored. Beyond the quota, blocks that no pin reaches are removed, those
longest unused first; a pinned block never is, nor one of a transfer that is under way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import structlog
import trio

from node.blocks.cids import canonical, cid_text
from node.blocks.dag import blocks_of, decode_block
from node.blocks.errors import NotFound, StoreFull
from node.blocks.fetching import Tree, complete, from_store
from node.blocks.store import BlockStore
from node.network import Network
from node.network.bitswap import Bitswap, serve_bitswap
from protocols.errors import BadIdentifier
from protocols.ids import Cid, PeerId

log = structlog.get_logger(__name__)

T = TypeVar("T")
QUOTA_BYTES = 20 << 30
DISK_THREADS = 4  # a disk serves few at once, and the default of 40 threads is for everybody
MAX_TREE_BYTES = 1 << 40  # bound of a walk over our own content


class EmbeddedBlocks:
    """`Blocks` over a folder and a network. Made by `open_embedded`."""

    def __init__(self, store: BlockStore, quota_bytes: int) -> None:
        self._store = store
        self._quota = quota_bytes
        self._limiter = trio.CapacityLimiter(DISK_THREADS)
        self._changing = trio.Lock()  # one writer: a collection and a store never interleave
        self._held: Counter[Cid] = Counter()  # blocks of transfers under way
        self._bitswap: Bitswap | None = None

    async def add(self, data: bytes) -> Cid:
        """Chunk, store and pin."""
        blocks = await self._disk(lambda: list(blocks_of(data)))
        root = blocks[-1][0]
        with self._holding(cid for cid, _ in blocks):
            await self._write(blocks)
            await self._disk(lambda: self._store.pin(root))
        return root

    async def fetch(self, cid: Cid, *, providers: Sequence[PeerId], max_bytes: int, timeout_s: float) -> bytes:
        """The content, from here or from the providers in their order. Raises NotFound, TooLarge, BadBlock."""
        tree = Tree(canonical(cid), max_bytes)
        held: list[Cid] = []

        async def keep(name: Cid, block: bytes) -> None:
            held.append(name)
            self._held[name] += 1
            await self._write([(name, block)])

        try:
            with trio.move_on_after(timeout_s):
                if self._bitswap is None:
                    await from_store(tree, self._read)
                else:
                    await complete(tree, self._bitswap, providers, self._read, keep)
            if not tree.complete:
                raise NotFound(f"{cid} did not arrive whole within {timeout_s:g} s; what came is kept")
            return await tree.assemble(self._read)
        finally:
            self._release(held)

    async def has(self, cid: Cid) -> bool:
        """Whether every block is here."""
        tree = Tree(canonical(cid), MAX_TREE_BYTES)
        await from_store(tree, self._read)
        return tree.complete

    async def pin(self, cid: Cid) -> None:
        """Keep content that is here."""
        if not await self.has(cid):
            raise NotFound(f"{cid} is not here: fetch it before pinning it")
        await self._disk(lambda: self._store.pin(cid))

    async def unpin(self, cid: Cid) -> None:
        await self._disk(lambda: self._store.unpin(cid))

    async def drop(self, cid: Cid) -> bool:
        """Unpin, and remove the blocks that no other pin reaches and no transfer holds."""
        await self.unpin(cid)
        async with self._changing:
            held = set(self._held)
            await self._disk(lambda: _drop(self._store, held, canonical(cid)))
        return True

    async def pins(self) -> list[Cid]:
        return await self._disk(self._store.pins)

    async def collect_garbage(self, target_bytes: int = 0) -> int:
        """Remove blocks that no pin reaches, longest unused first, until at most `target_bytes` are stored.

        Returns the bytes removed.
        """
        async with self._changing:
            return await self._collect(target_bytes)

    @property
    def size_bytes(self) -> int:
        """What the blocks take on the disk."""
        return self._store.size_bytes

    @property
    def sent_bytes(self) -> int:
        """What has gone to peers since the start."""
        return self._bitswap.sent_bytes if self._bitswap else 0

    # -- for Bitswap

    async def read(self, cid: bytes) -> bytes | None:
        """A block by the bytes of its CID, for a peer."""
        name = _name(cid)
        return await self._read(name) if name else None

    async def holds(self, cid: bytes) -> bool:
        name = _name(cid)
        return name is not None and await self._disk(lambda: self._store.has(name))

    # -- inside

    async def _read(self, cid: Cid) -> bytes | None:
        return await self._disk(lambda: self._store.get(cid))

    async def _write(self, blocks: Sequence[tuple[Cid, bytes]]) -> None:
        size = sum(len(block) for _, block in blocks)
        async with self._changing:
            if self._store.size_bytes + size > self._quota:
                await self._collect(max(0, self._quota - size))
            if self._store.size_bytes + size > self._quota:
                raise StoreFull(f"{size} bytes more than the {self._quota} that blocks may take; the rest is pinned")
            await self._disk(lambda: self._store.put(blocks))

    async def _collect(self, target_bytes: int) -> int:
        before = self._store.size_bytes
        held = set(self._held)
        await self._disk(lambda: _sweep(self._store, held, target_bytes))
        removed = before - self._store.size_bytes
        if removed:
            log.info("blocks collected", removed_bytes=removed, left_bytes=self._store.size_bytes)
        return removed

    @contextmanager
    def _holding(self, cids: Iterable[Cid]) -> Iterator[None]:
        held = list(cids)
        self._held.update(held)
        try:
            yield
        finally:
            self._release(held)

    def _release(self, cids: Iterable[Cid]) -> None:
        self._held.subtract(cids)
        self._held = +self._held

    async def _disk(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._limiter)


def _sweep(store: BlockStore, held: set[Cid], target_bytes: int) -> None:
    kept = held | _reachable(store, store.pins())
    for block in sorted(store.all(), key=lambda block: block.touched):
        if store.size_bytes <= target_bytes:
            return
        if block.cid not in kept:
            store.remove(block.cid)


def _drop(store: BlockStore, held: set[Cid], root: Cid) -> None:
    for cid in _reachable(store, [root]) - _reachable(store, store.pins()) - held:
        store.remove(cid)


def _reachable(store: BlockStore, roots: Iterable[Cid]) -> set[Cid]:
    seen: set[Cid] = set()
    stack = list(roots)
    while stack:
        cid = stack.pop()
        if cid in seen:
            continue
        seen.add(cid)
        block = store.get(cid)
        if block is not None:
            stack.extend(decode_block(cid, block).children)
    return seen


def _name(cid: bytes) -> Cid | None:
    try:
        return cid_text(cid)
    except BadIdentifier:
        return None


@asynccontextmanager
async def open_embedded(
    folder: Path, network: Network | None, *, quota_bytes: int = QUOTA_BYTES
) -> AsyncIterator[EmbeddedBlocks]:
    """Open the store and serve it; without a network only what is here can be had."""
    store = await trio.to_thread.run_sync(BlockStore, folder)
    blocks = EmbeddedBlocks(store, quota_bytes)
    if network is None:
        yield blocks
        return
    async with serve_bitswap(network, blocks) as bitswap:
        blocks._bitswap = bitswap
        yield blocks
