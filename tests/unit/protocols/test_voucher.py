"""Vouchers: equal to eth-account's bytes, bound to chain, bank, payer, payee, lane and sum."""

from __future__ import annotations

import coincurve
import pytest
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from protocols import eip712
from protocols.codec import decode, encode
from protocols.errors import BadSignature, Malformed
from protocols.ids import checksum
from protocols.voucher import (
    MAX_CUMULATIVE,
    MAX_LANE,
    MAX_VOUCHER_BYTES,
    Voucher,
    sign_voucher,
    verify_voucher,
    voucher_digest,
    voucher_domain,
)

addresses = st.binary(min_size=20, max_size=20).map(checksum)
lanes = st.integers(0, MAX_LANE)
amounts = st.integers(0, MAX_CUMULATIVE)

KEY = coincurve.PrivateKey(b"\x11" * 32)
PAYER = eip712.address_of(KEY.public_key)
PAYEE, BANK = checksum(b"\x22" * 20), checksum(b"\x33" * 20)
DOMAIN = voucher_domain(31337, BANK)

TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "Voucher": [
        {"name": "payer", "type": "address"},
        {"name": "payee", "type": "address"},
        {"name": "lane", "type": "uint64"},
        {"name": "cumulative", "type": "uint96"},
    ],
}


@given(st.integers(1, 2**53), addresses, addresses, addresses, lanes, amounts)
def test_digest_equals_eth_accounts(chain_id: int, bank: str, payer: str, payee: str, lane: int, amount: int) -> None:
    reference = encode_typed_data(
        full_message={
            "types": TYPES,
            "primaryType": "Voucher",
            "domain": {"name": "VoucherBank", "version": "1", "chainId": chain_id, "verifyingContract": bank},
            "message": {"payer": payer, "payee": payee, "lane": lane, "cumulative": amount},
        }
    )
    expected = keccak(b"\x19" + reference.version + reference.header + reference.body)
    assert voucher_digest(voucher_domain(chain_id, bank), payer, payee, lane, amount) == expected


@given(lanes, amounts)
def test_a_voucher_survives_the_wire_and_verifies(lane: int, amount: int) -> None:
    voucher = sign_voucher(KEY, DOMAIN, PAYER, PAYEE, lane, amount)
    wire = encode(voucher)
    assert len(wire) <= MAX_VOUCHER_BYTES
    back = decode(wire, Voucher, max_bytes=MAX_VOUCHER_BYTES)
    assert back == voucher
    assert back.cumulative == amount
    assert verify_voucher(back, DOMAIN) == PAYER


@pytest.mark.parametrize("domain", [voucher_domain(1, BANK), voucher_domain(31337, checksum(b"\x44" * 20))])
def test_a_voucher_is_worth_nothing_on_another_chain_or_bank(domain: bytes) -> None:
    voucher = sign_voucher(KEY, DOMAIN, PAYER, PAYEE, 1, 5)
    assert verify_voucher(voucher, domain) != PAYER


@pytest.mark.parametrize("lane", [-1, MAX_LANE + 1])
def test_a_lane_that_is_no_uint64_is_refused(lane: int) -> None:
    with pytest.raises(ValueError, match="uint64"):
        voucher_digest(DOMAIN, PAYER, PAYEE, lane, 1)


def test_a_sum_over_uint96_is_refused() -> None:
    with pytest.raises(ValueError, match="uint96"):
        voucher_digest(DOMAIN, PAYER, PAYEE, 1, MAX_CUMULATIVE + 1)
    forged = Voucher(payer=PAYER, payee=PAYEE, lane=1, cumulative_wei=str(MAX_CUMULATIVE + 1), signature=bytes(64))
    with pytest.raises(BadSignature):
        verify_voucher(forged, DOMAIN)


@pytest.mark.parametrize("amount", ["-1", "01", "1.5", "", "1" * 30, "٣", "5\n", 5])
def test_an_amount_that_is_not_a_plain_decimal_is_refused(amount: object) -> None:
    voucher = sign_voucher(KEY, DOMAIN, PAYER, PAYEE, 1, 5)
    fields = {name: getattr(voucher, name) for name in Voucher.__struct_fields__}
    with pytest.raises(Malformed):
        decode(encode({**fields, "cumulative_wei": amount}), Voucher, max_bytes=MAX_VOUCHER_BYTES)
