"""Vouchers of the VoucherBank: a payer's cumulative promise to one payee on one lane.

Only the newest voucher of a (payer, payee, lane) counts: it carries the sum of everything ever promised there, so the
payee keeps one and settles many. The struct hash is specialised by hand: one keccak over 192 bytes. The bytes equal
those of any EIP-712 library (`tests/unit/protocols/test_voucher.py` compares with eth-account).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

import coincurve
import msgspec
from eth_hash.backends.pysha3 import keccak256 as keccak  # three times as fast as what `eth_hash.auto` prefers

from protocols import eip712
from protocols.codec import Message
from protocols.errors import BadSignature
from protocols.ids import Address, address_bytes

MAX_CUMULATIVE = 2**96 - 1  # uint96 in the contract
MAX_LANE = 2**64 - 1
MAX_VOUCHER_BYTES = 512  # an encoded voucher has at most 260

_VOUCHER = keccak(b"Voucher(address payer,address payee,uint64 lane,uint96 cumulative)")

# \Z, because $ would also match before a newline at the end
HexAddress = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}\Z")]
Wei = Annotated[str, msgspec.Meta(pattern=r"^(0|[1-9][0-9]{0,28})\Z")]  # 2^96 - 1 has 29 digits


class Voucher(Message, frozen=True):
    """One signed promise. `signature` is 64 bytes (EIP-2098), by the payer or by a delegate he named on chain."""

    payer: HexAddress
    payee: HexAddress
    lane: Annotated[int, msgspec.Meta(ge=0)]
    cumulative_wei: Wei
    signature: Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]

    @property
    def cumulative(self) -> int:
        return int(self.cumulative_wei)


@lru_cache(maxsize=8)
def voucher_domain(chain_id: int, bank: Address) -> bytes:
    """The domain separator of one bank on one chain: a voucher is worth nothing anywhere else."""
    return eip712.domain_separator("VoucherBank", "1", chain_id, address_bytes(bank))


@lru_cache(maxsize=4096)
def _struct_head(payer: Address, payee: Address) -> bytes:
    return _VOUCHER + bytes(12) + address_bytes(payer) + bytes(12) + address_bytes(payee)


def voucher_digest(domain: bytes, payer: Address, payee: Address, lane: int, cumulative_wei: int) -> bytes:
    """The 32 bytes that are signed. Raises ValueError for a lane or an amount the contract could not hold."""
    if not 0 <= lane <= MAX_LANE:
        raise ValueError(f"lane {lane} is not a uint64")
    if not 0 <= cumulative_wei <= MAX_CUMULATIVE:
        raise ValueError(f"cumulative {cumulative_wei} is not a uint96")
    tail = lane.to_bytes(32, "big") + cumulative_wei.to_bytes(32, "big")
    return keccak(b"\x19\x01" + domain + keccak(_struct_head(payer, payee) + tail))


def sign_voucher(
    key: coincurve.PrivateKey, domain: bytes, payer: Address, payee: Address, lane: int, cumulative_wei: int
) -> Voucher:
    """A voucher by `payer`'s own key or by a delegate's."""
    digest = voucher_digest(domain, payer, payee, lane, cumulative_wei)
    return Voucher(
        payer=payer, payee=payee, lane=lane, cumulative_wei=str(cumulative_wei), signature=eip712.sign(key, digest)
    )


def verify_voucher(voucher: Voucher, domain: bytes) -> Address:
    """Who signed. The caller decides whether that is the payer or one of his delegates. Raises BadSignature."""
    payer, payee = Address(voucher.payer), Address(voucher.payee)
    try:
        digest = voucher_digest(domain, payer, payee, voucher.lane, voucher.cumulative)
    except ValueError as err:
        raise BadSignature(str(err)) from err
    return eip712.recover(digest, voucher.signature)
