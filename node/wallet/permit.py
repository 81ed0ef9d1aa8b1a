"""ERC-2612: let a contract take tokens by a signature in place of a transaction."""

from __future__ import annotations

from eth_hash.auto import keccak

from protocols.eip712 import typed_digest
from protocols.ids import Address, address_bytes

_PERMIT = keccak(b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")


def permit_digest(
    domain: bytes, *, owner: Address, spender: Address, value_wei: int, nonce: int, deadline: int
) -> bytes:
    """What the owner signs; `domain` is the token's own separator, `deadline` in UTC seconds."""
    struct = keccak(
        _PERMIT
        + bytes(12)
        + address_bytes(owner)
        + bytes(12)
        + address_bytes(spender)
        + value_wei.to_bytes(32, "big")
        + nonce.to_bytes(32, "big")
        + deadline.to_bytes(32, "big")
    )
    return typed_digest(domain, struct)
