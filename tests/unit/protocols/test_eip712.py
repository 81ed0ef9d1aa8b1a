"""Our digests and signatures against eth-account's."""

from __future__ import annotations

import contextlib

import coincurve
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from protocols import eip712
from protocols.errors import BadSignature
from protocols.ids import address_bytes

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
secrets = st.integers(1, ORDER - 1).map(lambda n: n.to_bytes(32, "big"))
digests = st.binary(min_size=32, max_size=32)

ITEM_TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
    ],
    "Item": [
        {"name": "kind", "type": "string"},
        {"name": "body", "type": "bytes32"},
        {"name": "peer", "type": "string"},
    ],
}


def reference_digest(message: object) -> bytes:
    return keccak(b"\x19" + message.version + message.header + message.body)  # type: ignore[attr-defined,no-any-return]


@given(st.integers(0, 2**64), st.text(max_size=30), digests, st.text(max_size=60))
def test_item_digest_equals_eth_accounts(chain_id: int, kind: str, body: bytes, peer: str) -> None:
    reference = encode_typed_data(
        full_message={
            "types": ITEM_TYPES,
            "primaryType": "Item",
            "domain": {"name": "Schwung", "version": "1", "chainId": chain_id},
            "message": {"kind": kind, "body": body, "peer": peer},
        }
    )
    assert eip712.item_digest(chain_id, kind, body, peer) == reference_digest(reference)


@given(secrets, digests)
def test_signature_equals_eth_accounts_and_recovers_the_signer(secret: bytes, digest: bytes) -> None:
    account = Account.from_key(secret)
    reference = account.unsafe_sign_hash(digest)
    signature = eip712.sign(coincurve.PrivateKey(secret), digest)
    r, s, v = eip712.rsv(signature)
    assert (int.from_bytes(r, "big"), int.from_bytes(s, "big"), v) == (reference.r, reference.s, reference.v)
    assert eip712.recover(digest, signature) == account.address
    assert eip712.address_of(coincurve.PrivateKey(secret).public_key) == account.address


@given(st.integers(1, ORDER - 1), digests, st.integers(1, 2**127), st.booleans())
def test_a_high_s_is_refused_although_it_would_recover(r: int, digest: bytes, above: int, odd: bool) -> None:
    """EIP-2098 leaves room for a sliver of high s: between half the order and 2^255."""
    high = (eip712.HALF_ORDER + above).to_bytes(32, "big")
    assert high[0] == 0x7F
    with pytest.raises(BadSignature, match="high s"):
        eip712.recover(digest, r.to_bytes(32, "big") + bytes([high[0] | odd << 7]) + high[1:])


def test_the_largest_low_s_is_not_refused() -> None:
    low = eip712.HALF_ORDER.to_bytes(32, "big")
    assert eip712.recover(bytes(31) + b"\x01", (1).to_bytes(32, "big") + low)


@given(st.binary(max_size=80), digests)
def test_junk_never_raises_anything_else(junk: bytes, digest: bytes) -> None:
    with contextlib.suppress(BadSignature):
        eip712.recover(digest, junk)


@given(secrets, digests, st.integers(0, 511))
def test_a_flipped_bit_recovers_to_somebody_else(secret: bytes, digest: bytes, bit: int) -> None:
    key = coincurve.PrivateKey(secret)
    signature = bytearray(eip712.sign(key, digest))
    signature[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(BadSignature):
        assert eip712.recover(digest, bytes(signature)) != eip712.address_of(key.public_key)


def test_domain_with_a_contract_differs_from_one_without() -> None:
    bare = eip712.domain_separator("A", "1", 1)
    bound = eip712.domain_separator("A", "1", 1, address_bytes(eip712.checksum_cached(bytes(20))))
    assert bare != bound
    with pytest.raises(ValueError, match="20 bytes"):
        eip712.domain_separator("A", "1", 1, b"short")


def test_a_body_hash_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        eip712.item_digest(1, "offer", b"short", "peer")
