// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";

/// A Merkle root over hashed leaves, as OpenZeppelin's `MerkleProof` checks it: two children in sorted order, an odd node
/// carried up. Whoever computes the root on chain from what it commits to, needs to trust nobody with it.
library LeafTree {
    /// The root. `nodes` holds the leaves, at least one, and is overwritten.
    function root(bytes32[] memory nodes) internal pure returns (bytes32) {
        uint256 width = nodes.length;
        while (width > 1) {
            uint256 above = 0;
            for (uint256 i; i < width; i += 2) {
                bytes32 left = nodes[i];
                nodes[above++] = i + 1 < width ? Hashes.commutativeKeccak256(left, nodes[i + 1]) : left;
            }
            width = above;
        }
        return nodes[0];
    }
}
