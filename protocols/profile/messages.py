"""`/schwung/profile/1`: a producer buys what a consumer wants, summed up, with the consumer's consent.

    producer                                              consumer
      ProfileRequest(domain) ──▶
      ◀── ProfileReply(terms)                               the price, the size and the hash of what would come
      ProfileRequest(domain, query, digest, voucher) ──▶    charged once for `query`, then sent
      ◀── ProfileReply(profile)                             or a refusal, with terms when money is missing

A request may be sent again with the same query id and voucher: it is answered again without being charged again, a few
times. The profile is not signed: whoever hands it on cannot prove whose it is.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from msgspec import Meta

from protocols.codec import Message, decode
from protocols.errors import RuleBroken
from protocols.offers.offer import MAX_CENTROIDS, MAX_CLOCK_SKEW_S, MAX_DIM
from protocols.profile.advert import Epsilon, Floor, Sources
from protocols.voucher import Voucher
from protocols.wei import Wei, parse_wei

PROTOCOL = "/schwung/profile/1"
LANE = int.from_bytes(hashlib.sha256(PROTOCOL.encode()).digest()[:8], "big")  # of the vouchers for profiles
MAX_REQUEST_BYTES = 2 * 1024
MAX_PROFILE_BYTES = 40 * 1024  # MAX_CENTROIDS of MAX_DIM and their numbers
MAX_REPLY_BYTES = MAX_PROFILE_BYTES + 2 * 1024
MAX_WANTS = 1_000_000

Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
QueryId = Annotated[bytes, Meta(min_length=16, max_length=16)]
Count = Annotated[int, Meta(ge=0, le=MAX_WANTS)]


class Want(Message, frozen=True, kw_only=True):
    """A centroid of wants, the mean of their unit vectors with its noise: a direction in int8 components, and `length`
    in ppm, which says without noise how closely they stand together.

    `max_price_wei` is what half of those that name a price would pay at most, to two digits, 0 when none names one.
    """

    vector: Annotated[bytes, Meta(min_length=8, max_length=MAX_DIM)]
    wants: Annotated[int, Meta(ge=1, le=MAX_WANTS)]
    length: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    max_price_wei: Wei


class Profile(Message, frozen=True, kw_only=True):
    """What one consumer wants in one domain. Times are UTC seconds, to the day. `calls`: of models of the domain."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    domain: Annotated[str, Meta(max_length=32)]
    model_id: Annotated[str, Meta(max_length=96)]
    sources: Sources
    epsilon: Epsilon
    floor: Floor
    wants: Annotated[list[Want], Meta(max_length=MAX_CENTROIDS)]
    calls: Count
    updated_at: Annotated[int, Meta(ge=0, le=1 << 53)]


class ProfileTerms(Message, frozen=True, kw_only=True):
    """A voucher to `payee` on LANE, `price_wei` above `served_wei`, buys the profile whose SHA-256 is `digest`, of so
    many wants.

    `served_wei`, what this payer was served for, is 0 where no voucher names the payer. `held` is the newest voucher
    that is held, shown to its signer when he sends an older sum: his journal is lost.
    """

    payee: Annotated[str, Meta(max_length=42)]
    price_wei: Wei
    digest: Digest
    wants: Annotated[int, Meta(ge=0, le=MAX_CENTROIDS * MAX_WANTS)]
    served_wei: Wei = "0"
    held: Voucher | None = None


class Payment(Message, frozen=True, kw_only=True):
    """What is paid for: the purchase's id, chosen by the buyer, and the profile that was quoted."""

    query: QueryId
    digest: Digest
    voucher: Voucher


class ProfileRequest(Message, frozen=True, kw_only=True):
    """Without a payment, the terms are asked for."""

    domain: Annotated[str, Meta(max_length=32)]
    payment: Payment | None = None


class ProfileReply(Message, frozen=True, kw_only=True):
    """An encoded Profile, or terms, or why neither."""

    profile: Annotated[bytes, Meta(max_length=MAX_PROFILE_BYTES)] = b""
    terms: ProfileTerms | None = None
    refused: Annotated[str, Meta(max_length=200)] = ""


def size(profile: Profile) -> int:
    """How many wants it sums up."""
    return sum(want.wants for want in profile.wants)


def digest_of(profile: bytes) -> bytes:
    """32 bytes that name a profile."""
    return hashlib.sha256(profile).digest()


def read_profile(data: bytes, *, domain: str, model_id: str, dim: int, now: int) -> Profile:
    """A profile as it came, if it keeps its own rules and can be compared here. Raises Malformed or RuleBroken."""
    profile = decode(data, Profile, max_bytes=MAX_PROFILE_BYTES)
    if (profile.domain, profile.model_id) != (domain, model_id):
        raise RuleBroken(f"a profile of {profile.domain!r} by {profile.model_id!r}; {domain!r} was asked for")
    if profile.updated_at > now + MAX_CLOCK_SKEW_S:
        raise RuleBroken("the profile is dated in the future")
    if len({want.vector for want in profile.wants}) != len(profile.wants):
        raise RuleBroken("the same centroid twice")
    for want in profile.wants:
        if len(want.vector) != dim or not any(want.vector):
            raise RuleBroken(f"a centroid must be a direction of {dim} dimensions")
        if want.wants < profile.floor:
            raise RuleBroken(f"a centroid of {want.wants} wants is below the profile's own floor of {profile.floor}")
        parse_wei(want.max_price_wei)
    if not profile.wants and profile.calls < profile.floor:
        raise RuleBroken("a profile that tells nothing")
    return profile
