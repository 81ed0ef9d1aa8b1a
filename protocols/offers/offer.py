"""The offer: what a seller says about a dataset, and the rules an honest one keeps.

The commitment `root` fixes the plaintext; `dataset` and `offer_no` name it on chain, where seller, root and price
can be compared before any money moves. The sketch says what the records are *about*: a few
int8 centroids of their embeddings.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.codec import Message, decode
from protocols.envelope import MAX_BODY_BYTES, Item
from protocols.errors import RuleBroken
from protocols.ids import parse_cid, parse_domain
from protocols.quality import Ppm, Quality
from protocols.wei import Wei, parse_wei

KIND = "offer"
MAX_LIFETIME_S = 90 * 86_400  # a seller who is still there announces again
MAX_CLOCK_SKEW_S = 120  # clocks of honest hosts without NTP drift by less
MAX_CENTROIDS = 16
MAX_DIM = 2_048

Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
Count = Annotated[int, Meta(ge=1, le=(1 << 32) - 1)]


class Centroid(Message, frozen=True, kw_only=True):
    """A direction in embedding space, as int8 components whose largest is ±127, and the records around it.

    `weight` is their share of all records, `focus` how closely they stand around it: the length of the mean of their
    unit vectors.
    """

    vector: Annotated[bytes, Meta(min_length=8, max_length=MAX_DIM)]
    weight: Ppm
    focus: Ppm


class Offer(Message, frozen=True, kw_only=True):
    """A dataset for sale. Times are UTC seconds, sizes bytes, `price_wei` base units of the settlement token."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    network: Annotated[str, Meta(max_length=64)]
    chain_id: Annotated[int, Meta(ge=1, le=(1 << 53) - 1)]
    title: Annotated[str, Meta(min_length=1, max_length=200)]
    domain: Annotated[str, Meta(max_length=32)]
    kind: Annotated[str, Meta(max_length=32)] = "records"
    licence: Annotated[str, Meta(min_length=1, max_length=32)]
    cid: Annotated[str, Meta(max_length=130)]
    root: Hash
    cells: Count
    cell_bytes: Annotated[int, Meta(ge=64, le=4_096)]
    records: Count
    size_bytes: Annotated[int, Meta(ge=1, le=1 << 40)]
    languages: Annotated[dict[Annotated[str, Meta(max_length=12)], Ppm], Meta(max_length=32)] = {}
    quality: Quality
    model_id: Annotated[str, Meta(max_length=96)]
    sketch: Annotated[list[Centroid], Meta(min_length=1, max_length=MAX_CENTROIDS)]
    dataset: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]  # counters on chain: 63 bits never run out
    offer_no: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]
    block: Annotated[
        int, Meta(ge=0, le=(1 << 53) - 1)
    ]  # the block that holds the on-chain offer: samples come after it
    price_wei: Wei
    created_at: Annotated[int, Meta(ge=0, le=1 << 53)]
    expires_at: Annotated[int, Meta(ge=0, le=1 << 53)]


def read_offer(item: Item, *, network: str, chain_id: int, now: int) -> Offer:
    """The offer in a checked envelope. Raises Malformed or RuleBroken."""
    if item.kind != KIND:
        raise RuleBroken(f"an offer was expected, this is a {item.kind!r}")
    offer = decode(item.body, Offer, max_bytes=MAX_BODY_BYTES)
    check_offer(offer, network=network, chain_id=chain_id, now=now)
    return offer


def check_offer(offer: Offer, *, network: str, chain_id: int, now: int) -> None:
    """The rules, cheap ones first. Raises RuleBroken or BadIdentifier with the rule that is broken."""
    check_context(offer.network, offer.chain_id, network, chain_id)
    check_lifetime(offer.created_at, offer.expires_at, now)
    parse_domain(offer.domain)
    parse_cid(offer.cid)
    if parse_wei(offer.price_wei) == 0:
        raise RuleBroken("an offer without a price; free data needs no sale")
    dims = {len(c.vector) for c in offer.sketch}
    if len(dims) != 1:
        raise RuleBroken("the sketch mixes vectors of several dimensions")


def check_context(network: str, chain_id: int, ours: str, our_chain_id: int) -> None:
    """An item made for another network or chain is refused: its promises cannot be enforced here."""
    if network != ours or chain_id != our_chain_id:
        raise RuleBroken(f"made for network {network!r} on chain {chain_id}, this is {ours!r} on {our_chain_id}")


def check_lifetime(created_at: int, expires_at: int, now: int) -> None:
    """Not from the future, not expired, not too long-lived. Times are UTC seconds."""
    if created_at > now + MAX_CLOCK_SKEW_S:
        raise RuleBroken(f"dated {created_at - now} s in the future; check the clocks")
    if expires_at <= now:
        raise RuleBroken(f"expired {now - expires_at} s ago")
    if expires_at - created_at > MAX_LIFETIME_S:
        raise RuleBroken(f"lives {expires_at - created_at} s, the limit is {MAX_LIFETIME_S}")
