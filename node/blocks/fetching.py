"""Fetch a tree of blocks from several providers, one after the other, within bounds.

A provider is asked for a window of blocks at a time. When it says that it has none of what is missing, goes silent or
goes away, the next one is asked for what is still missing: what has arrived is stored and is not asked for again,
also not by a later call (so a transfer that broke continues where it stood).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import structlog
import trio

from node.blocks.cids import cid_bytes, cid_text
from node.blocks.dag import CHUNK_BYTES, MAX_BLOCK_BYTES, Node, decode_block
from node.blocks.errors import BadBlock, NotFound, TooLarge
from node.network.bitswap import Asking, Bitswap
from node.network.errors import NetworkError
from protocols.ids import Cid, PeerId

log = structlog.get_logger(__name__)

WINDOW = 16  # blocks asked for at a time: 4 MiB in flight
SILENCE_S = 8.0  # a provider that sends nothing for this long is left
SMALL_NODES = 64  # blocks that a file may have beyond what its size calls for (inner nodes, odd chunkings)

Read = Callable[[Cid], Awaitable["bytes | None"]]
Write = Callable[[Cid, bytes], Awaitable[None]]


class Tree:
    """What is known of a tree while it is being fetched: which blocks are missing, and whether it stays within its
    bound."""

    def __init__(self, root: Cid, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._max_blocks = SMALL_NODES + 4 * (max_bytes // CHUNK_BYTES + 1)
        self._nodes: dict[Cid, Node] = {}
        self._order: deque[Cid] = deque([root])  # wanted, not asked for yet
        self._wanted: set[Cid] = {root}
        self._bytes = 0

    @property
    def complete(self) -> bool:
        return not self._wanted

    def take(self, room: int) -> list[Cid]:
        """The next blocks to look for."""
        return [self._order.popleft() for _ in range(min(room, len(self._order)))]

    def give_back(self, cids: Sequence[Cid]) -> None:
        """They were looked for in vain."""
        self._order.extendleft(reversed(cids))

    def add(self, cid: Cid, block: bytes) -> None:
        """A block has come. Raises TooLarge, BadBlock."""
        if cid not in self._wanted:
            return
        if len(block) > MAX_BLOCK_BYTES:
            raise BadBlock(f"{cid} has {len(block)} bytes, the limit for a block is {MAX_BLOCK_BYTES}")
        node = decode_block(cid, block)
        self._bytes += len(block)
        if node.file_bytes > self._max_bytes or self._bytes > self._max_bytes + 64 * len(self._nodes) + 65_536:
            raise TooLarge(f"{self._root} has more than the {self._max_bytes} bytes that were expected")
        self._nodes[cid] = Node(node.data if node.children else b"", node.children, node.file_bytes)
        self._wanted.discard(cid)
        for child in node.children:
            if child not in self._nodes and child not in self._wanted:
                self._wanted.add(child)
                self._order.append(child)
        if len(self._nodes) + len(self._wanted) > self._max_blocks:
            raise TooLarge(f"{self._root} has more blocks than {self._max_bytes} bytes call for")

    async def assemble(self, read: Read) -> bytes:
        """The file. Raises as `pieces`."""
        return b"".join([piece async for piece in self.pieces(read)])

    async def pieces(self, read: Read) -> AsyncGenerator[bytes]:
        """The file, in order. Raises TooLarge when repeated blocks blow it up, NotFound when a block has gone again."""
        size = visits = 0
        stack = [self._root]
        while stack:
            cid = stack.pop()
            visits += 1
            node = self._nodes[cid]
            piece = node.data
            if node.children:
                stack.extend(reversed(node.children))
            else:
                block = await read(cid)
                if block is None:
                    raise NotFound(f"block {cid} has gone while it was being read")
                piece = decode_block(cid, block).data
            size += len(piece)
            if size > self._max_bytes or visits > 16 * self._max_blocks:
                raise TooLarge(f"{self._root} has more than the {self._max_bytes} bytes that were expected")
            yield piece


async def complete(tree: Tree, bitswap: Bitswap, providers: Sequence[PeerId], read: Read, write: Write) -> None:
    """Bring every block of the tree here. Raises NotFound when no provider has what is missing."""
    await from_store(tree, read)
    for provider in providers:
        if tree.complete:
            return
        try:
            async with bitswap.asking(provider) as asking:
                await _ask(tree, asking, read, write)
        except NetworkError as err:
            log.info("provider left", peer=provider, reason=str(err))
    if not tree.complete:
        raise NotFound(f"none of {len(providers)} providers had all blocks of the content")


async def from_store(tree: Tree, read: Read) -> None:
    """Take from the store what is here already."""
    missing: list[Cid] = []
    while cids := tree.take(WINDOW):
        for cid in cids:
            block = await read(cid)
            if block is None:
                missing.append(cid)
            else:
                tree.add(cid, block)
    tree.give_back(missing)


async def _ask(tree: Tree, asking: Asking, read: Read, write: Write) -> None:
    """Ask one provider until the tree is complete or it has no more; what it did not give is given back."""
    outstanding: dict[Cid, None] = {}
    refused: list[Cid] = []
    try:
        while True:
            wants = []
            for cid in tree.take(WINDOW - len(outstanding)):
                block = await read(cid)  # it may be here from an earlier, broken fetch
                if block is None:
                    wants.append(cid)
                    outstanding[cid] = None
                else:
                    tree.add(cid, block)
            if wants:
                await asking.want([cid_bytes(cid) for cid in wants])
            elif not outstanding:
                return
            cid, data = await _next(asking)
            outstanding.pop(cid, None)
            if data is None:
                refused.append(cid)
            else:
                tree.add(cid, data)
                await write(cid, data)
    finally:
        tree.give_back([*outstanding, *refused])


async def _next(asking: Asking) -> tuple[Cid, bytes | None]:
    with trio.move_on_after(SILENCE_S):
        name, data = await asking.next()
        return cid_text(name), data
    raise NotFoundHere(f"{asking.peer} sent nothing for {SILENCE_S:g} s")


class NotFoundHere(NetworkError):
    """This provider is no use; another may be."""
