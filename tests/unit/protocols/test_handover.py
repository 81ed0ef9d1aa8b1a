"""The hand-over of a key, and evidence that the contract's own steps accept (mirrored here from KeySale.sol)."""

from __future__ import annotations

import hashlib
import secrets

import coincurve
import pytest
from eth_abi import encode as abi_encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from protocols.exchange.handover import (
    CellEvidence,
    KeyEvidence,
    MaskedKey,
    cell_fault_evidence,
    handover_secret,
    key_fault_evidence,
    mask_key,
    one_time_key,
    public_point,
    try_key,
    unmask_key,
)
from protocols.sealed import Payload, Record, Sealed, parse, record_id, seal, tree
from protocols.sealed.keys import apply_stream
from tests.support import hostile

CK = bytes(range(32))
SALE = (7 << 64) | 3
B = hashlib.sha256(b"b").digest()
SELLER_SECRET = bytes(32)
RECORDS = [Record(id=record_id("", f"row {n} " * 30), text=f"row {n} " * 30) for n in range(50)]
HONEST = seal(RECORDS, CK, 512)

scalars = st.integers(1, 2**256 - 1).map(lambda n: n.to_bytes(32, "big")).filter(lambda raw: raw < b"\xff" * 15)


def e_for(sale: int = SALE) -> bytes:
    return handover_secret(SELLER_SECRET, sale, public_point(B))


# --- what the contract does, step by step, in Python ---


def contract_address(point: coincurve.PublicKey) -> bytes:
    return keccak(point.format(compressed=False)[1:])[12:]


def contract_key_fault(evidence: KeyEvidence, buyer_public: tuple[bytes, bytes], sealed: Sealed) -> bool:
    """KeySale.disputeKey: True when it slashes, False when it reverts."""
    sale, b, ex, parity, c, i, ct_hash, pt_hash, key_hash, path = evidence.arguments()
    secret = b.to_bytes(32, "big")
    if contract_address(coincurve.PrivateKey(secret).public_key) != keccak(buyer_public[0] + buyer_public[1])[12:]:
        return False
    try:
        shared = contract_address(coincurve.PublicKey(bytes([2 + parity]) + ex).multiply(secret))
    except ValueError:
        return True
    leaf = hashlib.sha256(abi_encode(["bytes32"] * 3, [ct_hash, pt_hash, key_hash])).digest()
    if not tree.verify(sealed.root, sealed.cells, i, leaf, path):
        return False
    pad = keccak(abi_encode(["address", "uint256"], [shared, sale]))
    content_key = bytes(x ^ y for x, y in zip(c, pad, strict=True))
    key = hashlib.sha256(content_key + i.to_bytes(4, "big")).digest()
    return hashlib.sha256(b"k" + key).digest() != key_hash


def contract_cell_fault(evidence: CellEvidence, sealed: Sealed) -> bool:
    """KeySale.disputeCell: True when it slashes, False when it reverts."""
    _, i, key, pt_hash, ciphertext, path = evidence.arguments()
    parts = hashlib.sha256(ciphertext).digest(), pt_hash, hashlib.sha256(b"k" + key).digest()
    leaf = hashlib.sha256(abi_encode(["bytes32"] * 3, parts)).digest()
    if not tree.verify(sealed.root, sealed.cells, i, leaf, path):
        return False
    return hashlib.sha256(b"p" + key + apply_stream(key, ciphertext)).digest() != pt_hash


def posted(payload: Payload, key: MaskedKey) -> KeyEvidence:
    fault = try_key(payload, B, key, SALE).fault
    assert fault is not None
    assert fault.kind == "key"
    return key_fault_evidence(payload, fault.index, B, key, SALE)


@given(scalars, scalars, st.integers(1, 2**128 - 1), st.binary(min_size=32, max_size=32))
def test_the_buyer_unmasks_what_the_seller_masked(b: bytes, e: bytes, sale: int, content_key: bytes) -> None:
    assert unmask_key(b, mask_key(content_key, public_point(b), sale, e), sale) == content_key


def test_golden_handover() -> None:
    """Fixed inputs, checked once against the prototype's Python: a change breaks every sale under way."""
    key = mask_key(CK, public_point(B), SALE, e_for())
    assert key.ex.hex() == "7bf5ea24edfbea9ba622f72f073d6f9a78c62feacf833b654a9ebe15d5301e08"
    assert key.masked.hex() == "c71beedbfbf51beaaaef05d40bad7c6f311d550872cb6cf864a4b0ac132b39d1"
    assert key.parity == 1


def test_the_same_request_gets_the_same_answer_and_another_sale_another() -> None:
    assert e_for() == e_for()
    assert len({e_for(), e_for(SALE + 1), handover_secret(b"other" * 7, SALE, public_point(B))}) == 3
    assert e_for() != handover_secret(SELLER_SECRET, SALE, public_point(e_for()))


def test_another_buyer_cannot_unmask() -> None:
    key = mask_key(CK, public_point(B), SALE, e_for())
    assert unmask_key(hashlib.sha256(b"eve").digest(), key, SALE) != CK
    assert unmask_key(B, key, SALE + 1) != CK


def test_one_time_keys_are_fresh_and_within_the_order() -> None:
    draws = iter([bytes(32), b"\xff" * 32, B])
    assert one_time_key(lambda _: next(draws)) == B
    assert one_time_key(secrets.token_bytes) != one_time_key(secrets.token_bytes)


def test_a_point_off_the_curve_cannot_be_answered() -> None:
    with pytest.raises(ValueError, match="public key"):
        mask_key(CK, (bytes(32), bytes(32)), SALE, e_for())


def test_an_honest_key_has_no_fault() -> None:
    payload = parse(HONEST.payload)
    outcome = try_key(payload, B, mask_key(CK, public_point(B), SALE, e_for()), SALE)
    assert (outcome.content_key, outcome.fault) == (CK, None)


def test_an_honest_seller_cannot_be_disputed_at_any_cell() -> None:
    payload = parse(HONEST.payload)
    key = mask_key(CK, public_point(B), SALE, e_for())
    for index in range(payload.cells):
        assert not contract_key_fault(key_fault_evidence(payload, index, B, key, SALE), public_point(B), HONEST)
        assert not contract_cell_fault(cell_fault_evidence(payload, index, CK, SALE), HONEST)


@pytest.mark.parametrize(
    "key",
    [
        hostile.wrong_key(public_point(B), SALE, e_for()),
        hostile.off_curve_key(),
        hostile.replayed_key(CK, public_point(B), SALE + 1, e_for()),
    ],
    ids=["wrong", "off the curve", "replayed"],
)
def test_a_posted_key_that_opens_nothing_is_proven(key: MaskedKey) -> None:
    assert contract_key_fault(posted(parse(HONEST.payload), key), public_point(B), HONEST)


def test_a_cell_committed_to_a_foreign_key_is_proven() -> None:
    sealed = hostile.seal_false_key(RECORDS, CK, 512, index=3)
    evidence = posted(parse(sealed.payload), mask_key(CK, public_point(B), SALE, e_for()))
    assert evidence.index == 3
    assert contract_key_fault(evidence, public_point(B), sealed)


def test_a_false_cell_is_proven_and_only_that_cell_becomes_public() -> None:
    sealed = hostile.seal_false_cell(RECORDS, CK, 512, index=3)
    payload = parse(sealed.payload)
    outcome = try_key(payload, B, mask_key(CK, public_point(B), SALE, e_for()), SALE)
    assert outcome.fault is not None
    assert (outcome.fault.index, outcome.fault.kind) == (3, "cell")
    evidence = cell_fault_evidence(payload, 3, CK, SALE)
    assert contract_cell_fault(evidence, sealed)
    assert CK not in evidence.arguments()


def test_evidence_against_another_payload_does_not_count() -> None:
    sealed = hostile.seal_false_cell(RECORDS, CK, 512, index=3)
    assert not contract_cell_fault(cell_fault_evidence(parse(sealed.payload), 3, CK, SALE), HONEST)
