"""Merkle trees as the contracts build and check them: two children hashed in sorted order (OpenZeppelin `MerkleProof`),
an odd node carried up. What a leaf is, says each user; it is hashed twice, so that no inner node can pose as one.
"""

from __future__ import annotations

from collections.abc import Sequence

from eth_hash.auto import keccak


def leaf(encoded: bytes) -> bytes:
    """keccak(keccak(encoded)), `encoded` being what Solidity's abi.encode gives."""
    return keccak(keccak(encoded))


def word(value: int) -> bytes:
    """A whole number as abi.encode pads it, whatever its declared width."""
    return value.to_bytes(32, "big")


class MerkleTree:
    """A tree over hashed leaves; a leaf's index is its position."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        if not leaves:
            raise ValueError("a tree needs at least one leaf")
        level = list(leaves)
        self._levels = [level]
        while len(level) > 1:
            level = [_join(level[at : at + 2]) for at in range(0, len(level), 2)]
            self._levels.append(level)

    @property
    def root(self) -> bytes:
        """32 bytes."""
        return self._levels[-1][0]

    def proof(self, index: int) -> list[bytes]:
        """The siblings from leaf to root. Raises IndexError for an index outside the tree."""
        if not 0 <= index < len(self._levels[0]):
            raise IndexError(f"index {index} of a tree with {len(self._levels[0])} leaves")
        path = []
        for level in self._levels[:-1]:
            if (sibling := index ^ 1) < len(level):
                path.append(level[sibling])
            index //= 2
        return path


def verify(root: bytes, hashed_leaf: bytes, proof: Sequence[bytes]) -> bool:
    """What the contracts compute."""
    node = hashed_leaf
    for sibling in proof:
        node = _join([node, sibling])
    return node == root


def _join(nodes: Sequence[bytes]) -> bytes:
    return keccak(b"".join(sorted(nodes))) if len(nodes) == 2 else nodes[0]
