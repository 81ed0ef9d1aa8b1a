"""The ids of a domain as a tree of digests: two nodes find what they do not share by comparing a few of them.

Ids are hashes, so they spread evenly: 100,000 make about 4,096 leaves of 24 ids, three levels down. The shape follows
from the set alone (`protocols.catalog.messages`). Digests are made when somebody asks and thrown away with every change
above them; an id takes about 40 bytes here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from protocols.catalog.messages import DIGEST_BYTES, MAX_LEAF, Node

DIGITS = "0123456789abcdef"
ID_BYTES = 32
EMPTY = bytes(DIGEST_BYTES)


def leaf_digest(ids: Sequence[bytes]) -> bytes:
    """The digest of a leaf with these sorted ids; zeros for none."""
    return hashlib.sha256(b"\0" + b"".join(ids)).digest()[:DIGEST_BYTES] if ids else EMPTY


def inner_digest(children: Sequence[bytes]) -> bytes:
    """The digest of a node with these 16 below it."""
    return hashlib.sha256(b"\1" + b"".join(children)).digest()[:DIGEST_BYTES]


class Tree:
    """A set of ids (64 hex digits each) with a digest for every prefix."""

    def __init__(self) -> None:
        self._leaves: dict[str, bytes] = {"": b""}  # prefix -> its sorted ids, joined
        self._counts: dict[str, int] = {}  # of the inner nodes
        self._digests: dict[str, bytes] = {}

    def __len__(self) -> int:
        return self._count("")

    def __contains__(self, id: str) -> bool:
        raw, joined = bytes.fromhex(id), self._leaves[self._leaf_of(id)]
        return joined.startswith(raw, _place(joined, raw))

    def add(self, id: str) -> None:
        """Put an id in; one that is there stays."""
        raw, leaf = bytes.fromhex(id), self._leaf_of(id)
        joined = self._leaves[leaf]
        at = _place(joined, raw)
        if joined.startswith(raw, at):
            return
        self._touch(leaf, 1)
        self._leaves[leaf] = joined = joined[:at] + raw + joined[at:]
        if len(joined) > MAX_LEAF * ID_BYTES:
            self._grow(leaf, _split(joined))

    def remove(self, id: str) -> None:
        """Take an id out; one that is not there is none."""
        raw, leaf = bytes.fromhex(id), self._leaf_of(id)
        joined = self._leaves[leaf]
        at = _place(joined, raw)
        if not joined.startswith(raw, at):
            return
        self._touch(leaf, -1)
        self._leaves[leaf] = joined[:at] + joined[at + ID_BYTES :]
        while leaf and self._counts[leaf[:-1]] <= MAX_LEAF:
            leaf = leaf[:-1]
            self._shrink(leaf)

    def digest(self, prefix: str) -> bytes:
        """The digest of what lies below a prefix."""
        known = self._digests.get(prefix)
        if known is None:
            known = inner_digest(self._below(prefix)) if prefix in self._counts else leaf_digest(self.ids(prefix))
            self._digests[prefix] = known
            if prefix not in self._counts and prefix not in self._leaves:
                del self._digests[prefix]  # a stranger's question leaves nothing behind
        return known

    def ids(self, prefix: str) -> list[bytes]:
        """The ids below a prefix of a leaf's length or more, sorted; none for an inner node."""
        leaf = self._leaf_of(prefix)
        return (
            [] if prefix in self._counts else [id for id in _split(self._leaves[leaf]) if id.hex().startswith(prefix)]
        )

    def node(self, prefix: str, unless: Sequence[bytes] = ()) -> Node:
        """What a neighbour is told of a prefix."""
        digest = self.digest(prefix)
        if digest in unless:
            return Node(digest=digest)
        if prefix in self._counts:
            return Node(digest=digest, children=self._below(prefix))
        return Node(digest=digest, ids=self.ids(prefix))

    def _below(self, prefix: str) -> list[bytes]:
        return [self.digest(prefix + digit) for digit in DIGITS]

    def _count(self, prefix: str) -> int:
        return self._counts[prefix] if prefix in self._counts else len(self._leaves[prefix]) // ID_BYTES

    def _leaf_of(self, id: str) -> str:
        """The leaf where an id belongs; for a prefix above all leaves, the prefix itself."""
        for end in range(len(id) + 1):
            if id[:end] not in self._counts:
                return id[:end]
        return id

    def _touch(self, leaf: str, by: int) -> None:
        for end in range(len(leaf) + 1):
            self._digests.pop(leaf[:end], None)
            if end < len(leaf):
                self._counts[leaf[:end]] += by

    def _grow(self, prefix: str, ids: list[bytes]) -> None:
        del self._leaves[prefix]
        self._counts[prefix] = len(ids)
        for digit in DIGITS:
            below = [id for id in ids if id.hex().startswith(prefix + digit)]
            self._leaves[prefix + digit] = b"".join(below)
            if len(below) > MAX_LEAF:
                self._grow(prefix + digit, below)

    def _shrink(self, prefix: str) -> None:
        joined = b""
        for digit in DIGITS:
            joined += self._leaves.pop(prefix + digit)
            self._digests.pop(prefix + digit, None)
        del self._counts[prefix]
        self._leaves[prefix] = joined


def _place(joined: bytes, id: bytes) -> int:
    """Where an id is among sorted ones, or would be."""
    low, high = 0, len(joined) // ID_BYTES
    while low < high:
        middle = (low + high) // 2
        if joined[middle * ID_BYTES : (middle + 1) * ID_BYTES] < id:
            low = middle + 1
        else:
            high = middle
    return low * ID_BYTES


def _split(joined: bytes) -> list[bytes]:
    return [joined[at : at + ID_BYTES] for at in range(0, len(joined), ID_BYTES)]
