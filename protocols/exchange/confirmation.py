"""The buyer's signed confirmation of one sale, as `KeySale.confirmMany` takes it: EIP-712 `Confirm(uint256 saleId)`."""

from __future__ import annotations

from functools import lru_cache

from eth_hash.backends.pysha3 import keccak256 as keccak  # as protocols/eip712.py

from protocols import eip712
from protocols.errors import BadSignature
from protocols.ids import Address, address_bytes

_CONFIRM = keccak(b"Confirm(uint256 saleId)")


@lru_cache(maxsize=8)
def sale_domain(chain_id: int, contract: Address) -> bytes:
    """The domain separator of one KeySale on one chain: a confirmation is worth nothing anywhere else."""
    return eip712.domain_separator("KeySale", "1", chain_id, address_bytes(contract))


def confirm_digest(domain: bytes, sale: int) -> bytes:
    """The 32 bytes that the buyer's wallet signs. Raises ValueError for a number that no sale can have."""
    if not 0 < sale < 1 << 128:
        raise ValueError(f"no sale has the number {sale}")
    return eip712.typed_digest(domain, keccak(_CONFIRM + sale.to_bytes(32, "big")))


def is_confirmed_by(buyer: str, domain: bytes, sale: int, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) is `buyer`'s under this sale."""
    try:
        return eip712.recover(confirm_digest(domain, sale), signature) == buyer
    except BadSignature:
        return False
