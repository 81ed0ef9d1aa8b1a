"""What a payload consists of: its size and the digests of its leaves; everything else of its tree follows from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain
from mmap import MADV_DONTNEED, mmap
from pathlib import Path

from node.blocks.cids import DAG_PB, RAW, cid_bytes, cid_of, cid_text, codec_of, matches
from node.blocks.dag import Link, decode_block, encode_node
from node.blocks.errors import BadBlock, TooLarge
from protocols.ids import Cid
from protocols.payload import LEAF_BYTES, LINKS_PER_NODE, MAX_NODE_BYTES, Shape

DIGEST_BYTES = 32
MAX_CONTENT_BYTES = 1 << 40
HELD_LEAVES = 16
_RAW_PREFIX = bytes((1, RAW, 0x12, 0x20))
_ANY_DIGEST = hashlib.sha256(b"stands for a leaf's digest in a node's template").digest()


class NotCanonical(BadBlock):
    """A file, but not chunked as ours: whole and right perhaps, and only Bitswap can carry it."""


class Outline:
    """A content of more than one leaf. `digests` are 32 bytes a leaf, in order."""

    def __init__(self, size_bytes: int, digests: bytes) -> None:
        self.shape = Shape(size_bytes)
        if self.shape.leaves < 2 or len(digests) != DIGEST_BYTES * self.shape.leaves:
            raise ValueError(f"{len(digests)} bytes of digests for {self.shape.leaves} leaves")
        self.digests = digests
        self.nodes = _nodes(self)  # from the root down, left to right

    @property
    def root(self) -> Cid:
        return self.nodes[0][0]

    def digest(self, place: int) -> bytes:
        return self.digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]

    def leaf_cids(self) -> Iterator[Cid]:
        return (leaf_cid(self.digest(place)) for place in range(self.shape.leaves))


def leaf_cid(digest: bytes) -> Cid:
    """The CID of a leaf with that digest."""
    return cid_text(_RAW_PREFIX + digest)


def outline_of(leaves: Iterable[memoryview]) -> Outline:
    """The outline of a content of more than one leaf, from its leaves in order."""
    size, digests = 0, bytearray()
    for leaf in leaves:
        size += len(leaf)
        digests += hashlib.sha256(leaf).digest()
    return Outline(size, bytes(digests))


def leaves_of(data: bytes | mmap) -> Iterator[memoryview]:
    """The leaves of a content in memory; of a mapped file only the last few are."""
    with memoryview(data) as view:
        for at in range(0, len(view), LEAF_BYTES):
            yield view[at : at + LEAF_BYTES]
            if isinstance(data, mmap):
                behind = max(0, at - HELD_LEAVES * LEAF_BYTES)  # whoever took them may have come back to them
                data.madvise(MADV_DONTNEED, behind, min(at + LEAF_BYTES, len(view)) - behind)


def leaves_of_file(path: Path) -> Iterator[memoryview]:
    """The leaves of a file, one in memory at a time."""
    with path.open("rb") as file:
        while leaf := file.read(LEAF_BYTES):
            yield memoryview(leaf)


def outline_in(root: Cid, read: Callable[[Cid], bytes | None]) -> Outline | None:
    """The outline of a content whose nodes are here already; None when one is not, or it is not chunked as ours."""
    drawing = Drawing(root, MAX_CONTENT_BYTES)
    try:
        while drawing.drawn < drawing.nodes:
            node = read(drawing.next)
            if node is None:
                return None
            drawing.add(node)
        return drawing.outline()
    except (BadBlock, TooLarge):
        return None


def _nodes(outline: Outline) -> list[tuple[Cid, bytes]]:
    shape, digests = outline.shape, outline.digests
    levels: list[list[tuple[Cid, bytes]]] = [[]]
    level: list[Link] = []
    for first in range(0, shape.leaves, LINKS_PER_NODE):
        last = min(first + LINKS_PER_NODE, shape.leaves)
        block = _bottom_node(
            last - first, shape.leaf_bytes(last - 1), digests[first * DIGEST_BYTES : last * DIGEST_BYTES]
        )
        content = min(shape.size_bytes, last * LEAF_BYTES) - first * LEAF_BYTES
        levels[0].append((cid_of(block, DAG_PB), block))
        level.append(Link(levels[0][-1][0], len(block) + content, content))
    while len(level) > 1:
        groups = [level[start : start + LINKS_PER_NODE] for start in range(0, len(level), LINKS_PER_NODE)]
        levels.append([_node(group) for group in groups])
        level = [
            Link(cid, len(block) + sum(link.tree_bytes for link in group), sum(link.file_bytes for link in group))
            for (cid, block), group in zip(levels[-1], groups, strict=True)
        ]
    return [node for row in reversed(levels) for node in row]


def _node(group: list[Link]) -> tuple[Cid, bytes]:
    block = encode_node(group)
    return cid_of(block, DAG_PB), block


def _bottom_node(leaves: int, last_bytes: int, digests: bytes) -> bytes:
    """The node over leaves that are full, but for the last one."""
    pieces = _template(leaves, last_bytes)
    between = (digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES))
    return b"".join(chain.from_iterable(zip(pieces, between, strict=False))) + pieces[-1]


def _digests_in(block: bytes, leaves: int, last_bytes: int) -> bytes | None:
    """The digests of such a node; None when it is another one."""
    at, digests = 0, []
    for piece in _template(leaves, last_bytes)[:-1]:
        at += len(piece) + DIGEST_BYTES
        digests.append(block[at - DIGEST_BYTES : at])
    found = b"".join(digests)
    return found if block == _bottom_node(leaves, last_bytes, found) else None


@lru_cache(maxsize=64)
def _template(leaves: int, last_bytes: int) -> tuple[bytes, ...]:
    """What stands before, between and after the digests in such a node."""
    sizes = [LEAF_BYTES] * (leaves - 1) + [last_bytes]
    any_leaf = leaf_cid(_ANY_DIGEST)
    return tuple(encode_node([Link(any_leaf, size, size) for size in sizes]).split(_ANY_DIGEST))


class Drawing:
    """An outline that comes from a stranger, node by node from the root down, each proven by the one above it."""

    def __init__(self, root: Cid, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._known = [root]  # inner nodes, the next one at `self.drawn`
        self._counts: list[int] = []
        self._digests = bytearray()
        self._size = 0
        self.drawn = 0
        self.nodes = 1  # more when the root has told

    @property
    def next(self) -> Cid:
        """The node at place `drawn`."""
        return self._known[self.drawn]

    def proves(self, block: bytes) -> bool:
        """Whether these are the bytes of the node at place `drawn`."""
        return len(block) <= MAX_NODE_BYTES and matches(self.next, block)

    def add(self, block: bytes) -> None:
        """The node at place `drawn`, proven. Raises BadBlock (NotCanonical), TooLarge: the content is at fault."""
        if self.drawn and len(self._known) == self.nodes and self._add_bottom(block):
            return
        cid = self.next
        node = decode_block(cid, block)
        if self.drawn == 0:
            self._start(node.file_bytes)
        if node.data or len(node.children) != self._counts[self.drawn]:
            raise NotCanonical(f"{cid} has {len(node.children)} children: it was not chunked as payloads are")
        codec = DAG_PB if len(self._known) < self.nodes else RAW
        if any(codec_of(child) != codec for child in node.children):
            raise NotCanonical(f"{cid} has children of another kind than a payload's")
        if codec == RAW:
            self._digests += b"".join(cid_bytes(child)[4:] for child in node.children)
        else:
            self._known += node.children
        self.drawn += 1

    def _add_bottom(self, block: bytes) -> bool:
        """The quick way for the nodes over leaves, of which a large content has many."""
        leaves, first = self._counts[self.drawn], len(self._digests) // DIGEST_BYTES
        digests = _digests_in(block, leaves, Shape(self._size).leaf_bytes(first + leaves - 1))
        if digests is None:
            return False
        self._digests += digests
        self.drawn += 1
        return True

    def outline(self) -> Outline:
        """The whole, when `drawn` is `nodes`. Raises NotCanonical."""
        outline = Outline(self._size, bytes(self._digests))
        if outline.root != self._root:
            raise NotCanonical(f"{self._root} tells other sizes than its leaves can have")
        return outline

    def _start(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise TooLarge(f"{self._root} has {size_bytes} bytes, {self._max_bytes} were expected at most")
        shape = Shape(size_bytes)
        self._size, self.nodes, self._counts = size_bytes, shape.nodes, list(shape.children())
        if not self.nodes:
            raise NotCanonical(f"{self._root} is a node over one leaf")
