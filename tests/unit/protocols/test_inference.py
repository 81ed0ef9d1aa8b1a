from __future__ import annotations

import hashlib

import msgspec
import pytest
from eth_abi import encode as abi_encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from protocols.codec import decode, encode
from protocols.envelope import MAX_BODY_BYTES, open_item, sign_item
from protocols.errors import BadIdentifier, BadSignature, Malformed, RuleBroken
from protocols.ids import checksum
from protocols.inference.card import KIND, ModelCard, Weight, datasets, lane, read_card, weights_tree
from protocols.inference.messages import (
    MAX_REQUEST_BYTES,
    InferenceReply,
    InferenceRequest,
    Receipt,
    receipt_digest,
    request_hash,
    response_hash,
)
from protocols.inference.weights import MAX_DATASETS, WHOLE_PPM, WeightsTree, leaf, verify
from tests.support.cards import SPLIT, a_card
from tests.support.items import ALICE, BOB, CHAIN_ID, NETWORK, NOW, Purse

ADDRESSES = [checksum(bytes([number]) * 20) for number in range(1, 40)]


def oz_process_proof(node: bytes, proof: list[bytes]) -> bytes:
    """OpenZeppelin's MerkleProof.processProof, written from its Solidity."""
    for sibling in proof:
        node = keccak(node + sibling) if node < sibling else keccak(sibling + node)
    return node


def oz_leaf(index: int, dataset: int, weight: int) -> bytes:
    """keccak256(bytes.concat(keccak256(abi.encode(index, dataset, weight)))) with the contract's own types."""
    return keccak(keccak(abi_encode(["uint256", "uint64", "uint32"], [index, dataset, weight])))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 33])
def test_every_proof_is_what_the_contract_checks(count):
    weights = [(3 * number, 1_000 + number) for number in range(count)]
    tree = WeightsTree(weights)
    for index, (dataset, weight) in enumerate(weights):
        assert oz_process_proof(oz_leaf(index, dataset, weight), tree.proof(index)) == tree.root
        assert verify(tree.root, index, dataset, weight, tree.proof(index))
        assert not verify(tree.root, index, dataset, weight + 1, tree.proof(index))
        assert not verify(tree.root, index, dataset + 1, weight, tree.proof(index))
        assert not verify(tree.root, index + 1, dataset, weight, tree.proof(index))


def test_an_inner_node_is_no_leaf():
    inner = keccak(b"".join(sorted(leaf(i, i, 10) for i in range(2))))
    assert all(leaf(index, index, 10) != inner for index in range(40))


def test_a_tree_without_leaves_and_a_proof_outside_are_errors():
    with pytest.raises(ValueError, match="at least one leaf"):
        WeightsTree([])
    with pytest.raises(IndexError):
        WeightsTree([(1, 1)]).proof(1)
    with pytest.raises(IndexError):
        WeightsTree([(1, 1)]).proof(-1)


def admit(card: ModelCard) -> ModelCard:
    purse = Purse(5)
    item = sign_item(KIND, encode(card), peer=ALICE, signer=purse.address, chain_id=CHAIN_ID, sign=purse.sign)
    opened = open_item(item.raw, chain_id=CHAIN_ID, author=ALICE)
    return read_card(opened, network=NETWORK, chain_id=CHAIN_ID, now=NOW)


def test_a_card_travels_whole():
    assert admit(a_card()) == a_card()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": "other"}, "made for network"),
        ({"expires_at": NOW}, "expired"),
        ({"created_at": NOW + 1_000, "expires_at": NOW + 2_000}, "future"),
        ({"task": "dance"}, "task 'dance'"),
        ({"classes": ["a"]}, "names its classes"),
        ({"task": "classification"}, "names its classes"),
        ({"parent_bps": 100}, "without a parent"),
        ({"price_wei": "0"}, "without a price"),
        ({"weights_root": bytes(32)}, "do not give"),
        ({"weights": [Weight(dataset=1, address=SPLIT[0][1], weight_ppm=1_000)]}, "do not sum"),
        ({"weights": [Weight(dataset=1, address=SPLIT[0][1], weight_ppm=500_000)] * 2}, "do not ascend"),
        ({"weights": [Weight(dataset=1, address="0x00", weight_ppm=WHOLE_PPM)]}, "not an address"),
        ({"domain": "No Domain"}, "domain"),
        ({"payee": "0x00"}, "not an address"),
    ],
)
def test_a_card_that_breaks_a_rule_is_refused(changes, words):
    with pytest.raises((RuleBroken, BadIdentifier), match=words):
        admit(a_card(**changes))


def test_the_largest_card_fits_into_an_envelope():
    split = [(2**63 - 300 + n, ADDRESSES[0], 3_906) for n in range(MAX_DATASETS - 1)]
    split.append((2**63 - 1, ADDRESSES[1], WHOLE_PPM - 3_906 * len(split)))
    card = a_card(tuple(split), title="t" * 200)
    assert len(encode(card)) < MAX_BODY_BYTES
    assert admit(card) == card


def test_the_lane_is_the_low_64_bits():
    assert lane("00" * 24 + "ff" * 8) == 2**64 - 1
    assert lane("ff" * 24 + "00" * 7 + "2a") == 42


def test_the_tree_of_a_card_proves_its_weights():
    card = a_card()
    tree = weights_tree(card)
    assert verify(card.weights_root, 1, SPLIT[1][0], SPLIT[1][2], tree.proof(1))
    assert datasets(card) == [1, 2]


@given(st.binary(max_size=300))
def test_hostile_bytes_are_malformed_or_typed(data):
    for kind in (InferenceRequest, InferenceReply, ModelCard):
        try:
            decode(data, kind, max_bytes=MAX_REQUEST_BYTES)
        except Malformed:
            continue


REQUEST = InferenceRequest(id=bytes(16), model="ab" * 32, inputs=["a coat"])


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": []},
        {"inputs": ["x"] * 33},
        {"inputs": [""]},
        {"inputs": ["x" * 8_193]},
        {"inputs": "text"},
        {"side": "both"},
        {"model": "AB" * 32},
        {"id": bytes(15)},
        {"surprise": 1},
    ],
)
def test_a_request_out_of_bounds_is_malformed(changes):
    plain = msgspec.to_builtins(REQUEST, builtin_types=(bytes,)) | changes
    with pytest.raises(Malformed):
        decode(encode(plain), InferenceRequest, max_bytes=MAX_REQUEST_BYTES)


def test_the_request_hash_ignores_the_payment_and_nothing_else():
    first = request_hash(REQUEST)
    for name, value in {"id": bytes([1]) * 16, "model": "cd" * 32, "inputs": ["b"], "side": "document"}.items():
        assert request_hash(msgspec.structs.replace(REQUEST, **{name: value})) != first


def test_the_receipt_digest_covers_every_field():
    receipt = Receipt(
        model="ab" * 32,
        payer=ADDRESSES[0],
        lane=3,
        cumulative_wei="10",
        request=bytes(32),
        response=response_hash(b"", 0),
        units=1,
        at=NOW,
        peer=ALICE,
    )
    first = receipt_digest(receipt, CHAIN_ID)
    changes = {
        "model": "cd" * 32, "payer": ADDRESSES[1], "lane": 4, "cumulative_wei": "11", "request": b"\1" * 32,
        "response": bytes(32), "units": 2, "at": NOW + 1, "peer": BOB,
    }  # fmt: skip
    assert set(changes) == set(Receipt.__struct_fields__) - {"signature"}
    for name, value in changes.items():
        assert receipt_digest(msgspec.structs.replace(receipt, **{name: value}), CHAIN_ID) != first
    assert receipt_digest(receipt, CHAIN_ID + 1) != first
    assert receipt_digest(msgspec.structs.replace(receipt, signature=b"\1" * 64), CHAIN_ID) == first


def test_a_card_signed_by_another_wallet_is_refused():
    purse = Purse(5)
    item = sign_item(KIND, encode(a_card()), peer=ALICE, signer=Purse(6).address, chain_id=CHAIN_ID, sign=purse.sign)
    with pytest.raises(BadSignature):
        open_item(item.raw, chain_id=CHAIN_ID, author=ALICE)


def test_golden_hashes():
    """Bytes that go over the wire: a change here is a change of the protocol."""
    assert hashlib.sha256(encode(a_card())).hexdigest() == GOLDEN_CARD
    assert request_hash(REQUEST).hex() == GOLDEN_REQUEST


GOLDEN_CARD = "8960b06c31e041d57dad0ebea6a7ddd4e79fbcb98e37797cc38fec12b653f71e"
GOLDEN_REQUEST = "c6629162e17b06e407525c95be89eb442593ac3ae38a5cbaea30175007b24860"
