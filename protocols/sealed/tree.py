"""The Merkle tree over cells: binary SHA-256 by position, an odd node at the end of a level carried up unchanged.

A leaf hashes 96 bytes and an inner node 64, so neither can pass for the other. The root alone does not fix the number
of cells; the registry and the offer state both, and `verify` needs both.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

HASH_BYTES = 32


def leaf(cipher_hash: bytes, plain_hash: bytes, key_hash: bytes) -> bytes:
    """The leaf of one cell. All three hashes have 32 bytes."""
    return sha256(cipher_hash + plain_hash + key_hash).digest()


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All levels of the tree, the leaves first and the root last."""
    if not leaves:
        raise ValueError("a tree needs at least one leaf")
    above = [list(leaves)]
    while len(above[-1]) > 1:
        above.append(_parents(above[-1]))
    return above


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over the leaves."""
    if not leaves:
        raise ValueError("a tree needs at least one leaf")
    nodes = list(leaves)
    while len(nodes) > 1:
        nodes = _parents(nodes)
    return nodes[0]


def path(tree: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    """The siblings from a leaf to the root, lowest first; a level where the node is carried up gives none."""
    if not 0 <= index < len(tree[0]):
        raise IndexError(f"leaf {index} of {len(tree[0])}")
    siblings = []
    for nodes in tree[:-1]:
        if index ^ 1 < len(nodes):
            siblings.append(nodes[index ^ 1])
        index >>= 1
    return siblings


def verify(root: bytes, width: int, index: int, leaf: bytes, path: Sequence[bytes]) -> bool:
    """Whether `leaf` stands at `index` of the tree of `width` leaves. Mirrors `KeySale._inTree` step by step."""
    if not 0 <= index < width:
        return False
    node, used = leaf, 0
    while width > 1:
        if index ^ 1 < width:
            if used == len(path):
                return False
            sibling = path[used]
            used += 1
            node = sha256(sibling + node if index & 1 else node + sibling).digest()
        index >>= 1
        width = (width + 1) >> 1
    return used == len(path) and node == root


def _parents(nodes: list[bytes]) -> list[bytes]:
    pairs = iter(nodes)
    above = [sha256(left + right).digest() for left, right in zip(pairs, pairs, strict=False)]
    if len(nodes) & 1:
        above.append(nodes[-1])
    return above
