// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// The tree over a sealed payload's cells: binary sha256 by position, an odd node carried up unchanged.
library CellTree {
    function leafOf(bytes32 ctHash, bytes32 ptHash, bytes32 kHash) internal pure returns (bytes32) {
        return sha256(abi.encode(ctHash, ptHash, kHash));
    }

    function hashKey(bytes32 k) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1("k"), k));
    }

    /// Whether node `h` is leaf i of the tree with this root and number of cells. The number is part of the question: without
    /// it leaf 1 of two cells could pass for leaf 3.
    function holds(bytes32 root, uint32 cells, uint32 i, bytes32 h, bytes32[] calldata path)
        internal
        pure
        returns (bool)
    {
        if (i >= cells) return false;
        uint256 width = cells;
        uint256 pos = i;
        uint256 used;
        while (width > 1) {
            bool right = pos & 1 == 1;
            if (right || pos + 1 < width) {
                if (used == path.length) return false;
                bytes32 sibling = path[used++];
                h = right ? sha256(abi.encode(sibling, h)) : sha256(abi.encode(h, sibling));
            }
            pos >>= 1;
            width = (width + 1) >> 1;
        }
        return used == path.length && h == root;
    }
}
