"""The embedded block store: files in the node's folder, our own payload protocol and Bitswap over the node's own host.

Only blocks that we made or asked for are stored, and only what is pinned or shared is served and told to the DHT.
Beyond the quota, what no pin reaches is removed, longest unused first (`garbage`); a pinned block never is, nor one of
a transfer that is under way. A payload is fetched by `/schwung/payload/1` from those who speak it and have it
(`transfer`), and by Bitswap from everybody else (`fetching`).
"""

from __future__ import annotations

import mmap
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import structlog
import trio

from node.blocks import garbage
from node.blocks.cids import RAW, canonical, cid_text, codec_of
from node.blocks.dag import blocks_of
from node.blocks.errors import NotFound, StoreFull, TooLarge
from node.blocks.fetching import Tree, complete, from_store
from node.blocks.offered import Offered
from node.blocks.outline import (
    MAX_CONTENT_BYTES,
    NotCanonical,
    Outline,
    leaf_cid,
    leaves_of,
    leaves_of_file,
    outline_in,
    outline_of,
)
from node.blocks.payloads import Payload
from node.blocks.room import Room
from node.blocks.serving import Serving
from node.blocks.shares import Shares
from node.blocks.sources import key_of, search_beside, sources
from node.blocks.store import BlockStore
from node.blocks.taking import Keeper
from node.blocks.transfer import Transfer
from node.network import Network
from node.network.bitswap import Bitswap, serve_bitswap
from node.network.dht.providing import Providing
from protocols.errors import BadIdentifier
from protocols.ids import Cid, PeerId
from protocols.payload import LEAF_BYTES

log = structlog.get_logger(__name__)

T = TypeVar("T")
QUOTA_BYTES = 20 << 30
DISK_THREADS = 4  # a disk serves few at once, and the default of 40 threads is for everybody


class EmbeddedBlocks:
    """`Blocks` over a folder and a network. Made by `open_embedded`."""

    def __init__(self, store: BlockStore, network: Network | None, quota_bytes: int, share_bytes: int = 0) -> None:
        self._store = store
        self._network = network
        self._quota = quota_bytes
        self._shares = Shares(store, share_bytes)
        self._offered = Offered(store)
        self._limiter = trio.CapacityLimiter(DISK_THREADS)
        self._changing = trio.Lock()  # one writer: a collection and a store never interleave
        self._held: Counter[Cid] = Counter()  # what transfers under way need
        self._fetching: dict[Cid, trio.Lock] = {}
        self._bitswap: Bitswap | None = None
        self._room = Room()
        self.serving = Serving(store, self._disk)
        self.provided: Providing | None = None  # with a network that keeps provider records

    async def add(self, data: bytes) -> Cid:
        """Chunk, store and pin."""
        if len(data) > LEAF_BYTES:
            return await self._add(lambda: leaves_of(data))
        blocks = list(blocks_of(data))
        root = blocks[-1][0]
        with self._holding([root]):
            await self._write(blocks)
            await self._pin(root)
        return root

    async def add_file(self, path: Path) -> Cid:
        """As `add`, for a file that need not fit into memory. Raises BadBlock when it changes meanwhile."""
        if await self._disk(lambda: path.stat().st_size) <= LEAF_BYTES:
            return await self.add(await self._disk(path.read_bytes))
        return await self._add(lambda: leaves_of_file(path))

    async def fetch(self, cid: Cid, *, providers: Sequence[PeerId], max_bytes: int, timeout_s: float) -> bytes:
        """The content, from here or from the providers. Raises NotFound, TooLarge, BadBlock, StoreFull."""
        async with self._brought(canonical(cid), providers, max_bytes, timeout_s) as found:
            if isinstance(found, Payload):
                return await self._disk(found.path.read_bytes)
            return await found.assemble(self._read)

    async def fetch_mapped(
        self, cid: Cid, *, providers: Sequence[PeerId], max_bytes: int, timeout_s: float
    ) -> bytes | mmap.mmap:
        """As `fetch`, but a content of more than one leaf is the file itself, mapped: it costs no memory.

        It stays readable until it is let go, whatever is collected meanwhile.
        """
        async with self._brought(canonical(cid), providers, max_bytes, timeout_s) as found:
            if isinstance(found, Payload):
                with found.path.open("rb") as file:
                    return _mapped(file)
            if codec_of(canonical(cid)) == RAW:
                return await found.assemble(self._read)
            with tempfile.TemporaryFile(dir=self._store.folder) as file:  # of no name: gone with its last user
                async with aclosing(found.pieces(self._read)) as pieces:
                    async for piece in pieces:
                        await self._disk(partial(file.write, piece))
                file.flush()
                return _mapped(file) if file.tell() else b""

    async def has(self, cid: Cid) -> bool:
        """Whether every block is here."""
        root = canonical(cid)
        payload = self._store.payloads.find(root)
        if payload is not None and payload.complete:
            return True
        tree = Tree(root, MAX_CONTENT_BYTES)
        await from_store(tree, self._read)
        return tree.complete

    async def pin(self, cid: Cid) -> None:
        """Keep content that is here, and serve it."""
        root = canonical(cid)
        with self._holding([root]):
            if not await self.has(root):
                raise NotFound(f"{cid} is not here: fetch it before pinning it")
            await self._pack(root)
            await self._pin(root)

    async def share(self, cid: Cid) -> bool:
        """Serve content that was bought to others as well, as long as there is room; False when there is none."""
        root = canonical(cid)
        with self._holding([root]):
            if not self._shares.room_bytes or not await self.has(root):
                return False
            await self._pack(root)
            async with self._changing:
                shared = await self._disk(lambda: self._shares.take(root))
                self._offered.renew()
        self._stir()
        return shared

    async def unpin(self, cid: Cid) -> None:
        await self._disk(lambda: self._store.pinned.remove(cid))
        self._offered.renew()
        self._stir()

    async def drop(self, cid: Cid) -> bool:
        """Unpin, and remove the blocks that no other pin reaches and no transfer holds."""
        await self._disk(lambda: self._store.shared.remove(cid))
        await self.unpin(cid)
        async with self._changing:
            held = set(self._held)
            await self._disk(lambda: garbage.drop(self._store, held, canonical(cid)))
        return True

    async def pins(self) -> list[Cid]:
        return await self._disk(self._store.pinned.all)

    async def collect_garbage(self, target_bytes: int = 0) -> int:
        """Remove blocks that no pin reaches, longest unused first, until at most `target_bytes` are stored.

        Returns the bytes removed.
        """
        async with self._changing:
            return await self._collect(target_bytes)

    @property
    def size_bytes(self) -> int:
        """What is stored, and what transfers under way have room for."""
        return self._store.size_bytes

    @property
    def sent_bytes(self) -> int:
        """What has gone to peers since the start."""
        return self.serving.sent_bytes + (self._bitswap.sent_bytes if self._bitswap else 0)

    def figures(self) -> dict[str, str | int]:
        providing = self.provided.providing if self.provided else 0
        return {"mode": "embedded", "size_bytes": self.size_bytes, "providing": providing}

    # -- for Bitswap

    async def read(self, cid: bytes) -> bytes | None:
        """A block by the bytes of its CID, for a peer; only what is offered."""
        return await self._read(name) if (name := await self._offered_name(cid)) else None

    async def holds(self, cid: bytes) -> bool:
        """Whether a peer may have a block, and it is here."""
        name = await self._offered_name(cid)
        return name is not None and await self._disk(lambda: self._store.has(name))

    async def _offered_name(self, cid: bytes) -> Cid | None:
        name = _name(cid)
        offered = name is not None and await self._disk(lambda: name in self._offered)
        return name if offered else None

    # -- bringing a content here

    @asynccontextmanager
    async def _brought(
        self, root: Cid, providers: Sequence[PeerId], max_bytes: int, timeout_s: float
    ) -> AsyncIterator[Payload | Tree]:
        with self._holding([root]):
            found: Payload | Tree | None = None
            with trio.move_on_after(timeout_s):
                async with self._alone(root):
                    found = await self._here(root, max_bytes) or await self._bring(root, providers, max_bytes)
            if found is None:
                raise NotFound(f"{root} did not arrive whole within {timeout_s:g} s; what came is kept")
            yield found

    async def _here(self, root: Cid, max_bytes: int) -> Payload | Tree | None:
        """The content as it is stored, if all of it is."""
        payload = self._store.payloads.find(root)
        if payload is None:
            tree = Tree(root, max_bytes)
            await from_store(tree, self._read)
            return tree if tree.complete else None
        if payload.shape.size_bytes > max_bytes:
            raise TooLarge(f"{root} has {payload.shape.size_bytes} bytes, {max_bytes} were expected at most")
        await self._disk(lambda: self._settle(payload))
        return payload if payload.complete else None

    async def _bring(self, root: Cid, providers: Sequence[PeerId], max_bytes: int) -> Payload | Tree | None:
        if self._network is None or self._bitswap is None:
            raise NotFound(f"{root} is not here, and there is no network")
        asked = 0
        liars: set[PeerId] = set()
        async with aclosing(sources(self._network.dht, root, providers)) as rounds:
            async for some in rounds:
                asked += len(some)
                if found := await self._bring_from(root, some, liars, max_bytes):
                    return found
        raise NotFound(f"none of {asked} providers had all blocks of the content")

    async def _bring_from(
        self, root: Cid, providers: Sequence[PeerId], liars: set[PeerId], max_bytes: int
    ) -> Payload | Tree | None:
        """The content, if these providers give what is missing of it."""
        assert self._network is not None
        assert self._bitswap is not None
        keeper = Keeper(self._begin, self._keep, self._keep_single, self._room)
        transfer = Transfer(self._network, root, max_bytes, keeper, self._store.payloads.find(root))
        try:
            await transfer.run(providers, search_beside(self._network.dht, root, max_bytes))
        except NotCanonical as err:
            log.debug("left to bitswap", root=root, reason=str(err))
        liars |= transfer.liars
        if not transfer.complete:
            try:
                await self._bring_blocks(root, [p for p in providers if p not in liars], max_bytes, self._bitswap)
            except NotFound as err:
                log.debug("not from these providers", root=root, reason=str(err))
                return None
        return await self._here(root, max_bytes)

    async def _bring_blocks(self, root: Cid, providers: Sequence[PeerId], max_bytes: int, bitswap: Bitswap) -> None:
        held: list[Cid] = []

        async def keep(name: Cid, block: bytes) -> None:
            held.append(name)
            self._held[name] += 1
            await self._write([(name, block)])

        try:
            await complete(Tree(root, max_bytes), bitswap, providers, self._read, keep)
        finally:
            self._release(held)

    async def _begin(self, outline: Outline) -> Payload:
        async with self._changing:
            if self._store.payloads.find(outline.root) is None:
                await self._make_room(outline.shape.size_bytes)
            payload = await self._disk(lambda: self._store.payloads.begin(outline))
        await self._disk(lambda: self._settle(payload))
        return payload

    async def _keep(self, payload: Payload, first: int, leaves: Sequence[memoryview]) -> None:
        try:
            await self._disk(lambda: self._store.payloads.write(payload, first, leaves))
        except OSError as err:
            raise StoreFull(f"a payload cannot be written: {err.strerror}") from err

    async def _keep_single(self, cid: Cid, block: bytes) -> None:
        await self._write([(cid, block)])

    def _settle(self, payload: Payload) -> None:
        """Know what of a payload is here, take what is stored elsewhere, and close it when that is all."""
        payloads = self._store.payloads
        if payloads.check(payload):
            return
        for place in payload.missing():
            digest = payload.outline.digest(place)
            block = self._store.get(leaf_cid(digest)) if self._store.has_leaf(digest) else None
            if block is not None:
                payloads.write(payload, place, [memoryview(block)])
        payloads.finish(payload)

    # -- inside

    async def _add(self, leaves: Callable[[], Iterator[memoryview]]) -> Cid:
        outline = await self._disk(lambda: outline_of(leaves()))
        with self._holding([outline.root]):
            async with self._alone(outline.root):
                payload = await self._begin(outline)
                if not payload.complete:
                    await self._disk(lambda: self._store.payloads.fill(payload, leaves()))
            await self._pin(outline.root)
        return outline.root

    async def _pin(self, root: Cid) -> None:
        await self._disk(lambda: self._store.pinned.add(root))
        await self._disk(lambda: self._offered.add(root))
        self._stir()

    def _stir(self) -> None:
        if self.provided is not None:
            self.provided.stir()

    async def _keys(self) -> list[bytes]:
        return [key_of(root) for root in await self._disk(self._store.roots)]

    async def _pack(self, root: Cid) -> None:
        """Make a payload of a content that came block by block, when it is chunked as payloads are."""
        if codec_of(root) == RAW or self._store.payloads.find(root) is not None:
            return
        outline = await self._disk(lambda: outline_in(root, self._store.get))
        if outline is None:
            return
        await self._begin(outline)
        async with self._changing:
            await self._disk(lambda: _unpack(self._store, outline))

    async def _read(self, cid: Cid) -> bytes | None:
        return await self._disk(lambda: self._store.get(cid))

    async def _write(self, blocks: Sequence[tuple[Cid, bytes]]) -> None:
        async with self._changing:
            await self._make_room(sum(len(block) for _, block in blocks))
            await self._disk(lambda: self._store.put(blocks))

    async def _make_room(self, size: int) -> None:
        if self._store.size_bytes + size > self._quota:
            await self._collect(max(0, self._quota - size))
        while self._store.size_bytes + size > self._quota and await self._disk(self._shares.give_way):
            self._offered.renew()
            await self._collect(max(0, self._quota - size))
        if self._store.size_bytes + size > self._quota:
            raise StoreFull(f"{size} bytes more than the {self._quota} that blocks may take; the rest is pinned")

    async def _collect(self, target_bytes: int) -> int:
        before = self._store.size_bytes
        held = set(self._held)
        await self._disk(lambda: garbage.sweep(self._store, held, target_bytes))
        removed = before - self._store.size_bytes
        if removed:
            log.info("blocks collected", removed_bytes=removed, left_bytes=self._store.size_bytes)
        return removed

    @asynccontextmanager
    async def _alone(self, root: Cid) -> AsyncIterator[None]:
        """One task at a time brings a content here; the next one finds it."""
        lock = self._fetching.setdefault(root, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._fetching.pop(root, None)

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


def _unpack(store: BlockStore, outline: Outline) -> None:
    """Remove the block files of what a payload holds now."""
    payload = store.payloads.find(outline.root)
    if payload is not None and payload.complete:
        for cid in [*outline.leaf_cids(), *(cid for cid, _ in outline.nodes)]:
            store.remove(cid)


def _mapped(file: IO[bytes]) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _name(cid: bytes) -> Cid | None:
    try:
        return cid_text(cid)
    except BadIdentifier:
        return None


@asynccontextmanager
async def open_embedded(
    folder: Path, network: Network | None, *, quota_bytes: int = QUOTA_BYTES, share_bytes: int = 0
) -> AsyncIterator[EmbeddedBlocks]:
    """Open the store and serve it; without a network only what is here can be had.

    `share_bytes` is the room, of the quota, for bought contents that are kept for others.
    """
    store = await trio.to_thread.run_sync(BlockStore, folder)
    blocks = EmbeddedBlocks(store, network, quota_bytes, share_bytes)
    if network is None:
        yield blocks
        return
    async with serve_bitswap(network, blocks) as bitswap:
        blocks._bitswap = bitswap
        blocks.serving.listen(network)
        blocks.provided = Providing(network.dht, blocks._keys)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(blocks.provided.run)
            yield blocks
            nursery.cancel_scope.cancel()
