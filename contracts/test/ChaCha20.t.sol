// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";
import {ChaCha20} from "../src/ChaCha20.sol";

contract ChaCha20Test is Test {
    function stream(bytes32 key, uint256 length) internal view returns (bytes memory) {
        return this.crypt(key, new bytes(length));
    }

    function crypt(bytes32 key, bytes calldata data) external pure returns (bytes memory) {
        return ChaCha20.xorStream(key, data);
    }

    function block_(bytes memory all, uint256 n) internal pure returns (bytes memory out) {
        out = new bytes(64);
        for (uint256 i; i < 64; ++i) out[i] = all[64 * n + i];
    }

    /// RFC 8439, appendix A.1: test vectors 1 to 4 are blocks 0, 1 and 2 of streams with nonce 0.
    function test_rfc8439_keystream() public view {
        bytes memory zero = stream(0, 128);
        assertEq(
            block_(zero, 0),
            hex"76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
        );
        assertEq(
            block_(zero, 1),
            hex"9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
        );
        assertEq(
            block_(stream(bytes32(uint256(1)), 128), 1),
            hex"3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0"
        );
        assertEq(
            block_(stream(bytes32(uint256(0xff) << 240), 192), 2),
            hex"72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096"
        );
    }

    /// The same streams as OpenSSL's, for lengths around the block's and for whole cells.
    function test_lengths_equal_openssl() public view {
        bytes32 key = sha256("schwung");
        assertEq(sha256(stream(key, 1)), 0x591b7cc95037822dec5a4d593a2e2e8b19c07ddd2570e5699003d17f14c440a6);
        assertEq(sha256(stream(key, 31)), 0x421239d5d244756de32616029aaeb72cea64186984b62fde80325f32ad1a5c35);
        assertEq(sha256(stream(key, 33)), 0xf0a6861a8f5487fafdcf6353573872a31c50c0a2540c13983e249a61cb6398ed);
        assertEq(sha256(stream(key, 63)), 0x5e5c59f0c20b2bc7c3754e18bd81ff7236af1247adecd6bb4bb056f5a77dd906);
        assertEq(sha256(stream(key, 64)), 0x4683d48149d1eaf0bb0abbb0b950f90b6864599f39c507db6d4695eb8f4e2196);
        assertEq(sha256(stream(key, 65)), 0xe1ce8c2fd97eaafb3a4ec7fae52f87e512039d37fcbb606700a4c6bf4110f664);
        assertEq(sha256(stream(key, 1000)), 0x79ea5ec4e36bd8385603ef2d7d5b406b8a7153bbcd40f475cbd4c71cb5b9a84e);
        assertEq(sha256(stream(key, 4096)), 0xceafced57793cee570abe3cd4a0764cd01460b7a390929dc110995bd1ab58deb);
    }

    /// What stands in calldata behind the data must not leak into the result, nor memory behind it into what follows.
    function testFuzz_twice_is_identity(bytes32 key, bytes calldata data) public view {
        bytes memory once = this.crypt(key, data);
        assertEq(once.length, data.length);
        assertEq(this.crypt(key, once), data);
        if (data.length > 8) assertNotEq(keccak256(once), keccak256(data));
    }

    function test_nothing_stays_nothing() public view {
        assertEq(stream(sha256("schwung"), 0).length, 0);
    }
}
