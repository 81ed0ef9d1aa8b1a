// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// RFC 8439 ChaCha20, zero nonce, counter from 0. Four 32-bit words live in one EVM word
/// (64-bit lanes, word 0 in the top lane), so a quarter round works on four columns at once.
library ChaCha20 {
    function xorStream(bytes32 key, bytes calldata data) internal pure returns (bytes memory out) {
        uint256 n = data.length;
        out = new bytes(n + 64); // room for the last whole block; shortened below
        assembly ("memory-safe") {
            function expand(u) -> x { // 16 LE bytes (as low 128 bits) -> four lanes
                u := or(and(u, 0xffffffffffffffff), shl(64, and(u, 0xffffffffffffffff0000000000000000)))
                x := or(shl(32, and(u, 0xffffffff00000000ffffffff00000000ffffffff00000000ffffffff00000000)),
                        and(u, 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff))
                x := swap(x)
            }
            function swap(x) -> y { // byte-swap each 32-bit lane value
                y := or(and(shl(8, x), 0x00000000ff00ff0000000000ff00ff0000000000ff00ff0000000000ff00ff00),
                        and(shr(8, x), 0x0000000000ff00ff0000000000ff00ff0000000000ff00ff0000000000ff00ff))
                y := and(or(shl(16, y), shr(16, y)), 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff)
            }
            function pack(x) -> u { // four lanes -> 16 LE bytes in the low 128 bits
                x := swap(x)
                x := and(or(x, shr(32, x)), 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff)
                u := or(and(x, 0xffffffffffffffff), shr(64, and(x, shl(128, 0xffffffffffffffff))))
            }
            let b0 := expand(shr(128, key))
            let c0 := expand(and(key, 0xffffffffffffffffffffffffffffffff))
            let dst := add(out, 32)
            for { let off := 0 } lt(off, n) { off := add(off, 64) } {
                let a := 0x0000000061707865000000003320646e0000000079622d32000000006b206574
                let b := b0
                let c := c0
                let d := shl(192, shr(6, off))
                for { let i := 0 } lt(i, 10) { i := add(i, 1) } {
                    let M := 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff
                    // column round
                    a := and(add(a, b), M) d := xor(d, a) d := and(or(shl(16, d), shr(16, d)), M)
                    c := and(add(c, d), M) b := xor(b, c) b := and(or(shl(12, b), shr(20, b)), M)
                    a := and(add(a, b), M) d := xor(d, a) d := and(or(shl(8, d), shr(24, d)), M)
                    c := and(add(c, d), M) b := xor(b, c) b := and(or(shl(7, b), shr(25, b)), M)
                    // diagonalise
                    b := or(shl(64, b), shr(192, b)) c := or(shl(128, c), shr(128, c)) d := or(shl(192, d), shr(64, d))
                    a := and(add(a, b), M) d := xor(d, a) d := and(or(shl(16, d), shr(16, d)), M)
                    c := and(add(c, d), M) b := xor(b, c) b := and(or(shl(12, b), shr(20, b)), M)
                    a := and(add(a, b), M) d := xor(d, a) d := and(or(shl(8, d), shr(24, d)), M)
                    c := and(add(c, d), M) b := xor(b, c) b := and(or(shl(7, b), shr(25, b)), M)
                    b := or(shl(192, b), shr(64, b)) c := or(shl(128, c), shr(128, c)) d := or(shl(64, d), shr(192, d))
                }
                {
                    let M := 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff
                    a := and(add(a, 0x0000000061707865000000003320646e0000000079622d32000000006b206574), M)
                    b := and(add(b, b0), M)
                    c := and(add(c, c0), M)
                    d := and(add(d, shl(192, shr(6, off))), M)
                }
                let src := add(data.offset, off)
                mstore(add(dst, off), xor(calldataload(src), or(shl(128, pack(a)), pack(b))))
                mstore(add(dst, add(off, 32)), xor(calldataload(add(src, 32)), or(shl(128, pack(c)), pack(d))))
            }
            mstore(out, n)
        }
    }
}
