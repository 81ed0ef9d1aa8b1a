"""The Merkle tree over (index, address, weight) that a published model's revenue is split by.

Exactly what `ModelRegistry` checks: leaf = keccak(keccak(abi.encode(index, address, weight))), doubled so that no
inner node can pose as a leaf; inner nodes hash their two children in sorted order (OpenZeppelin `MerkleProof`); an
odd node is carried up.
"""

from __future__ import annotations

from collections.abc import Sequence

from eth_hash.auto import keccak

from protocols.ids import Address, address_bytes


def leaf(index: int, address: Address, weight: int) -> bytes:
    """The leaf of one contributor. abi.encode pads each static value to 32 bytes, whatever its declared width."""
    encoded = index.to_bytes(32, "big") + address_bytes(address).rjust(32, b"\0") + weight.to_bytes(32, "big")
    return keccak(keccak(encoded))


class WeightsTree:
    """The tree of a model's weights; a contributor's index is its position."""

    def __init__(self, weights: Sequence[tuple[Address, int]]) -> None:
        if not weights:
            raise ValueError("a model without contributors has no weights tree")
        level = [leaf(index, address, weight) for index, (address, weight) in enumerate(weights)]
        self._levels = [level]
        while len(level) > 1:
            level = [_join(level[at : at + 2]) for at in range(0, len(level), 2)]
            self._levels.append(level)
        self.total = sum(weight for _, weight in weights)

    @property
    def root(self) -> bytes:
        """32 bytes, as published."""
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


def verify(root: bytes, index: int, address: Address, weight: int, proof: Sequence[bytes]) -> bool:
    """What the contract computes."""
    node = leaf(index, address, weight)
    for sibling in proof:
        node = _join([node, sibling])
    return node == root


def _join(nodes: Sequence[bytes]) -> bytes:
    return keccak(b"".join(sorted(nodes))) if len(nodes) == 2 else nodes[0]
