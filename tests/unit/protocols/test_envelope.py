from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.codec import decode, encode, unpack
from protocols.envelope import MAX_ENVELOPE_BYTES, Envelope, open_item
from protocols.errors import BadSignature, Malformed, ProtocolError, RuleBroken, WrongPeer
from protocols.ids import BadIdentifier, parse_address, parse_cid, parse_domain
from protocols.offers.offer import MAX_LIFETIME_S, read_offer
from tests.support.items import ALICE, BOB, CHAIN_ID, NETWORK, NOW, Purse, a_demand, an_offer, signed


def test_an_honest_offer_comes_through_with_its_author() -> None:
    purse = Purse(7)
    item = open_item(signed(an_offer(), purse, ALICE).raw, chain_id=CHAIN_ID, author=ALICE)
    assert (item.signer, item.peer) == (purse.address, ALICE)
    assert read_offer(item, network=NETWORK, chain_id=CHAIN_ID, now=NOW) == an_offer()


def test_an_envelope_told_by_another_peer_than_its_author_is_refused() -> None:
    raw = signed(an_offer(), Purse(7), ALICE).raw
    with pytest.raises(WrongPeer):
        open_item(raw, chain_id=CHAIN_ID, author=BOB)


def test_a_relay_may_hand_on_somebody_elses_envelope() -> None:
    raw = signed(an_offer(), Purse(7), ALICE).raw
    assert open_item(raw, chain_id=CHAIN_ID, author=None).peer == ALICE


def test_a_signature_made_for_another_chain_is_refused() -> None:
    raw = signed(an_offer(), Purse(7), ALICE).raw
    with pytest.raises(BadSignature):
        open_item(raw, chain_id=CHAIN_ID + 1, author=ALICE)


@pytest.mark.parametrize("field", ["kind", "body", "peer", "signer"])
def test_no_field_of_an_envelope_can_be_exchanged(field: str) -> None:
    mine = decode(signed(an_offer(), Purse(7), ALICE).raw, Envelope, max_bytes=MAX_ENVELOPE_BYTES)
    other = decode(signed(a_demand(), Purse(8), BOB).raw, Envelope, max_bytes=MAX_ENVELOPE_BYTES)
    forged = encode(msgspec.structs.replace(mine, **{field: getattr(other, field)}))
    with pytest.raises(BadSignature):
        open_item(forged, chain_id=CHAIN_ID, author=None)


@given(st.binary(max_size=300))
def test_garbage_is_refused_with_a_typed_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        open_item(data, chain_id=CHAIN_ID, author=None)


@given(st.data())
def test_a_damaged_envelope_is_refused(data: st.DataObject) -> None:
    raw = bytearray(signed(an_offer(), Purse(7), ALICE).raw)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProtocolError):
        open_item(bytes(raw), chain_id=CHAIN_ID, author=ALICE)


def test_an_announced_length_beyond_the_input_allocates_nothing() -> None:
    with pytest.raises(Malformed):
        unpack(b"\xdd\xff\xff\xff\xff")
    with pytest.raises(Malformed):
        unpack(b"\xc6\xff\xff\xff\xff")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(Malformed):
        unpack(b"\x91" * 5_000 + b"\x01")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"network": "other"}, "network"),
        ({"chain_id": 1}, "chain"),
        ({"expires_at": NOW}, "expired"),
        ({"created_at": NOW + 500, "expires_at": NOW + 900}, "future"),
        ({"expires_at": NOW + MAX_LIFETIME_S + 1}, "limit"),
        ({"price_wei": "0"}, "price"),
        ({"price_wei": str(1 << 96)}, "2^96"),
        ({"domain": "Not A Domain"}, "domain"),
        ({"cid": "nonsense"}, "CID"),
        ({"records": 0}, "records"),
        ({"root": b"short"}, "root"),
    ],
)
def test_an_offer_that_breaks_a_rule_is_refused_and_named(change: dict[str, object], word: str) -> None:
    item = signed(an_offer(**change), Purse(7), ALICE)
    with pytest.raises(ProtocolError, match=r"(?s).*") as caught:
        read_offer(item, network=NETWORK, chain_id=CHAIN_ID, now=NOW)
    assert word in str(caught.value)


def test_unknown_fields_of_a_signed_body_are_refused() -> None:
    plain = unpack(encode(an_offer())) | {"extra": 1}
    with pytest.raises(Malformed, match="extra"):
        decode(encode(plain), type(an_offer()), max_bytes=10_000)


def test_identifiers_are_checked() -> None:
    good = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # EIP-55's own example
    assert parse_address(good.lower()) == good
    with pytest.raises(BadIdentifier, match="checksum"):
        parse_address(good.replace("aA", "Aa"))
    for bad in ("", "0x12", good + "00"):
        with pytest.raises(BadIdentifier):
            parse_address(bad)
    with pytest.raises(BadIdentifier):
        parse_cid("../../etc/passwd")
    with pytest.raises(BadIdentifier):
        parse_domain("a/b")
    assert isinstance(RuleBroken("x"), ProtocolError)


def test_the_same_body_under_another_signer_is_another_item() -> None:
    assert signed(an_offer(), Purse(7), ALICE).id != signed(an_offer(), Purse(8), BOB).id
