// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// secp256k1 as far as a key exchange in the EVM needs it. Points are known by their Ethereum addresses.
library Curve {
    uint256 internal constant N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    uint256 private constant P = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFC2F;
    bytes32 internal constant GX = 0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798;

    /// Address of k * (x, parity), by ecrecover with z = 0: Q = r^-1 * s * R with r = x(R), s = k * r. Zero when x is on no point.
    function mul(bytes32 x, uint8 parity, uint256 k) internal pure returns (address) {
        if (uint256(x) == 0 || uint256(x) >= N) return address(0);
        return ecrecover(0, 27 + parity, x, bytes32(mulmod(k, uint256(x), N)));
    }

    /// Who signed, by an EIP-2098 signature; zero for nonsense. It has no room for a high s, so no second form either.
    function signer(bytes32 digest, bytes32 r, bytes32 vs) internal pure returns (address) {
        bytes32 s = vs & bytes32(uint256(type(int256).max));
        return ecrecover(digest, uint8(uint256(vs) >> 255) + 27, r, s);
    }

    function contains(bytes32 x, bytes32 y) internal pure returns (bool) {
        (uint256 a, uint256 b) = (uint256(x), uint256(y));
        return a < P && b < P && mulmod(b, b, P) == addmod(mulmod(mulmod(a, a, P), a, P), 7, P);
    }

    /// The address of the point (x, y), as a word.
    function addressOf(bytes32 x, bytes32 y) internal pure returns (bytes32 account) {
        assembly ("memory-safe") {
            mstore(0, x)
            mstore(0x20, y)
            account := and(keccak256(0, 0x40), 0xffffffffffffffffffffffffffffffffffffffff)
        }
    }
}
