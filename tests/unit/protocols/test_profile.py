"""Profiles and their adverts: what keeps the rules is taken, anything else is refused."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.codec import encode
from protocols.envelope import sign_item
from protocols.errors import Malformed, ProtocolError, RuleBroken
from protocols.profile import advert as adverts
from protocols.profile.advert import Advert, read_advert
from protocols.profile.messages import MAX_PROFILE_BYTES, Profile, Want, digest_of, read_profile, size
from tests.support.items import ALICE, CHAIN_ID, NETWORK, NOW, Purse

DIM = 8
HERE = {"domain": "fashion", "model_id": "m", "dim": DIM, "now": NOW}
ADVERT = Advert(
    network=NETWORK, chain_id=CHAIN_ID, domain="fashion", model_id="m", price_wei="5", sources=["demands"], epsilon=0,
    floor=5, created_at=NOW, expires_at=NOW + 60,
)  # fmt: skip
WANT = Want(vector=bytes([127] * DIM), wants=5, length=900_000, max_price_wei="7")
PROFILE = Profile(
    domain="fashion", model_id="m", sources=["demands"], epsilon=0, floor=5, wants=[WANT], calls=0, updated_at=NOW
)


def read(advert: Advert) -> Advert:
    purse = Purse(1)
    item = sign_item(adverts.KIND, encode(advert), peer=ALICE, signer=purse.address, chain_id=CHAIN_ID, sign=purse.sign)
    return read_advert(item, network=NETWORK, chain_id=CHAIN_ID, now=NOW)


def test_an_advert_that_keeps_the_rules_is_read() -> None:
    assert read(ADVERT) == ADVERT


@pytest.mark.parametrize(
    "changes",
    [
        {"price_wei": "0"},
        {"sources": ["demands", "demands"]},
        {"sources": []},
        {"sources": ["mail"]},
        {"floor": 1},
        {"epsilon": -1},
        {"network": "elsewhere"},
        {"chain_id": 1},
        {"expires_at": NOW},
        {"created_at": NOW + 3_600},
        {"domain": "No Domain"},
    ],
    ids=str,
)
def test_an_advert_that_breaks_a_rule_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        read(replace(ADVERT, **changes))


def test_a_profile_is_read_and_named_by_its_bytes() -> None:
    profile = read_profile(encode(PROFILE), **HERE)  # type: ignore[arg-type]
    assert (profile, size(profile)) == (PROFILE, 5)
    assert digest_of(encode(PROFILE)) != digest_of(encode(replace(PROFILE, calls=1)))


@pytest.mark.parametrize(
    "changes",
    [
        {"domain": "shoes"},
        {"model_id": "another"},
        {"updated_at": NOW + 3_600},
        {"wants": [WANT, WANT]},
        {"wants": [replace(WANT, wants=4)]},
        {"wants": [replace(WANT, vector=bytes(DIM))]},
        {"wants": [replace(WANT, vector=bytes([1] * (DIM + 1)))]},
        {"wants": [replace(WANT, max_price_wei=str(1 << 96))]},
        {"wants": [replace(WANT, length=0)]},
        {"wants": []},
        {"wants": [], "calls": 4},
        {"wants": [replace(WANT, vector=bytes([n + 1] * DIM)) for n in range(17)]},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_a_profile_that_breaks_a_rule_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises((RuleBroken, Malformed)):
        read_profile(encode(replace(PROFILE, **changes)), **HERE)  # type: ignore[arg-type]


def test_a_profile_is_bounded_before_it_is_parsed() -> None:
    with pytest.raises(Malformed, match="limit"):
        read_profile(encode(PROFILE) + bytes(MAX_PROFILE_BYTES), **HERE)  # type: ignore[arg-type]
