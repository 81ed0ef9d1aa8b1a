"""Our transactions and permits against eth-account's."""

from __future__ import annotations

import pytest
import rlp as reference_rlp
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from contracts.values import Call
from node.wallet.eip1559 import Draft, Fees, Rlp, rlp, sign_transaction
from node.wallet.permit import permit_digest
from protocols.eip712 import domain_separator
from protocols.ids import address_bytes, checksum
from tests.support.accounts import HotWallet

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
secrets = st.integers(1, ORDER - 1).map(lambda n: n.to_bytes(32, "big"))
addresses = st.binary(min_size=20, max_size=20).map(checksum)
fees = st.integers(0, 2**64)


@given(secrets, st.integers(1, 2**53), st.integers(0, 2**40), st.integers(21_000, 2**40), fees, fees, st.data())
def test_a_signed_transaction_equals_eth_accounts(
    secret: bytes, chain_id: int, nonce: int, gas: int, tip: int, max_fee: int, data: st.DataObject
) -> None:
    to = data.draw(addresses)
    calldata = data.draw(st.binary(max_size=300))
    value = data.draw(st.integers(0, 2**100))
    reference = Account.from_key(secret).sign_transaction(
        {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "gas": gas,
            "maxPriorityFeePerGas": tip,
            "maxFeePerGas": max_fee,
            "to": to,
            "value": value,
            "data": calldata,
        }
    )
    draft = Draft(chain_id, nonce, gas, tip, max_fee, Call(to, calldata, value))
    raw, name = sign_transaction(draft, HotWallet(secret).sign)
    assert raw == bytes(reference.raw_transaction)
    assert name == "0x" + bytes(reference.hash).hex()


items = st.recursive(st.binary(max_size=80), lambda inner: st.lists(inner, max_size=6), max_leaves=20)


@given(items)
def test_rlp_equals_the_reference(item: Rlp) -> None:
    assert rlp(item) == reference_rlp.encode(item)


@pytest.mark.parametrize("size", [0, 1, 55, 56, 255, 256, 65_536])
def test_rlp_at_the_borders_of_its_lengths(size: int) -> None:
    assert rlp(b"\xff" * size) == reference_rlp.encode(b"\xff" * size)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_bumped_fee_replaces_the_old_one_at_every_client(tip: int, max_fee: int) -> None:
    """Clients ask for 10 % or 12.5 % more on both fees."""
    bumped = Fees(0, tip, max_fee).bumped()
    assert bumped.tip * 8 >= tip * 9
    assert bumped.max_fee * 8 >= max_fee * 9
    assert bumped.tip > tip


PERMIT_TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "Permit": [
        {"name": "owner", "type": "address"},
        {"name": "spender", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "nonce", "type": "uint256"},
        {"name": "deadline", "type": "uint256"},
    ],
}


@given(addresses, addresses, addresses, st.integers(0, 2**256 - 1), st.integers(0, 2**64), st.integers(0, 2**64))
def test_a_permit_digest_equals_eth_accounts(
    token: str, owner: str, spender: str, value: int, nonce: int, deadline: int
) -> None:
    message = {"owner": owner, "spender": spender, "value": value, "nonce": nonce, "deadline": deadline}
    reference = encode_typed_data(
        full_message={
            "types": PERMIT_TYPES,
            "primaryType": "Permit",
            "domain": {"name": "Schwung", "version": "1", "chainId": 5, "verifyingContract": token},
            "message": message,
        }
    )
    domain = domain_separator("Schwung", "1", 5, address_bytes(token))
    digest = permit_digest(domain, owner=owner, spender=spender, value_wei=value, nonce=nonce, deadline=deadline)
    assert digest == keccak(b"\x19" + reference.version + reference.header + reference.body)
