"""Wallets of bytecode (ERC-1271), laid down by anvil: one with an owner, and some that mean ill.

Written by hand, so that a test of the node needs no Solidity compiler.
"""

from __future__ import annotations

from protocols.ids import Address, checksum
from tests.support.suite import Suite

PUSH1, PUSH2, PUSH4 = b"\x60", b"\x61", b"\x63"
JUMPDEST, JUMP, JUMPI, GAS, CALLER = b"\x5b", b"\x56", b"\x57", b"\x5a", b"\x33"
MSTORE, MLOAD, SLOAD, CALLDATALOAD = b"\x52", b"\x51", b"\x54", b"\x35"
DUP1, ADD, EQ, SHL, SHR, POP, RETURN, REVERT, STATICCALL = (
    b"\x80", b"\x01", b"\x14", b"\x1b", b"\x1c", b"\x50", b"\xf3", b"\xfd", b"\xfa"
)  # fmt: skip


def push(value: int) -> bytes:
    return PUSH1 + bytes([value])


def answer(word: bytes) -> bytes:
    """Return four bytes at the left of a word."""
    return PUSH4 + word + push(224) + SHL + push(0) + MSTORE + push(32) + push(0) + RETURN


YES = answer(bytes.fromhex("1626ba7e"))

# isValidSignature(digest, r ‖ vs): calldata 4 digest, 0x24 offset, 0x44 length, 0x64 r, 0x84 vs (EIP-2098)
_RECOVERED = b"".join(
    (
        push(0x04), CALLDATALOAD, push(0), MSTORE,
        push(0x64), CALLDATALOAD, push(0x40), MSTORE,
        push(0x84), CALLDATALOAD,
        DUP1, push(255), SHR, push(27), ADD, push(0x20), MSTORE,
        push(1), SHL, push(1), SHR, push(0x60), MSTORE,
        push(0x20), push(0), push(0x80), push(0), push(1), GAS, STATICCALL, POP,
        push(0), MLOAD, push(0), SLOAD, EQ,
    )
)  # fmt: skip
_NO = push(0) + push(0) + MSTORE + push(32) + push(0) + RETURN
OWNED = _RECOVERED + push(len(_RECOVERED) + 3 + len(_NO)) + JUMPI + _NO + JUMPDEST + YES

BURNER = JUMPDEST + push(0) + JUMP  # all the gas it gets
REVERTER = push(0) + push(0) + REVERT
SHORT = YES[:-5] + push(4) + push(0) + RETURN  # four bytes are no word
DUMP = YES[:-5] + PUSH2 + b"\xff\xff" + push(0) + RETURN  # 64 KiB that begin with a yes


def lay(suite: Suite, place: int, code: bytes, owner: Address | None = None) -> Address:
    """A wallet at an address of its own; its owner stands in slot 0."""
    address = checksum(b"\xc0" * 19 + bytes([place]))
    suite.anvil.call("anvil_setCode", address, "0x" + code.hex())
    if owner is not None:
        set_owner(suite, address, owner)
    return address


def set_owner(suite: Suite, wallet: Address, owner: Address) -> None:
    suite.anvil.call("anvil_setStorageAt", wallet, "0x" + "0" * 64, "0x" + owner[2:].lower().rjust(64, "0"))
    suite.anvil.call("evm_mine")


def false_friend(suite: Suite) -> bytes:
    """Yes, unless the bank asks."""
    head = b"\x73" + bytes.fromhex(suite.addresses["bank"][2:]) + CALLER + EQ
    return head + push(len(head) + 3 + len(YES)) + JUMPI + YES + JUMPDEST + _NO
