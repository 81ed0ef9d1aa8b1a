"""The advert of a profile: "I sell what I want in this domain, summed up, at this price", signed by its owner's wallet.

It is an item of its own and no field of a demand: who sells what he searched for may have no open demand at all, one
advert stands for all of them, and it is superseded, withdrawn, caught up with and expires as every item does. It tells
the terms and nothing of the wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from protocols.codec import Message, decode
from protocols.envelope import Item
from protocols.errors import RuleBroken
from protocols.ids import parse_domain
from protocols.offers.offer import check_context, check_lifetime
from protocols.wei import MAX_WEI, Wei, parse_wei

KIND = "profile"
MAX_BYTES = 1_024

Source = Literal["demands", "searches", "calls"]
SOURCES: tuple[Source, ...] = ("demands", "searches", "calls")
Sources = Annotated[list[Source], Meta(min_length=1, max_length=len(SOURCES))]
MAX_EPSILON = 1_000_000
Epsilon = Annotated[int, Meta(ge=0, le=MAX_EPSILON)]  # 0 stands for no noise
Floor = Annotated[int, Meta(ge=2, le=1_000)]


class Advert(Message, frozen=True, kw_only=True):
    """The terms of one owner for one domain. `floor` wants at least stand behind every centroid; `epsilon` is the
    noise on each want (node/market/noise.py). Times are UTC seconds, `price_wei` base units.
    """

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    network: Annotated[str, Meta(max_length=64)]
    chain_id: Annotated[int, Meta(ge=1, le=(1 << 53) - 1)]
    domain: Annotated[str, Meta(max_length=32)]
    model_id: Annotated[str, Meta(max_length=96)]
    price_wei: Wei
    sources: Sources
    epsilon: Epsilon
    floor: Floor
    created_at: Annotated[int, Meta(ge=0, le=1 << 53)]
    expires_at: Annotated[int, Meta(ge=0, le=1 << 53)]


def read_advert(item: Item, *, network: str, chain_id: int, now: int) -> Advert:
    """The advert in a checked envelope. Raises Malformed, BadIdentifier or RuleBroken."""
    if item.kind != KIND:
        raise RuleBroken(f"a profile's advert was expected, this is a {item.kind!r}")
    advert = decode(item.body, Advert, max_bytes=MAX_BYTES)
    check_context(advert.network, advert.chain_id, network, chain_id)
    check_lifetime(advert.created_at, advert.expires_at, now)
    parse_domain(advert.domain)
    check_terms(parse_wei(advert.price_wei), advert.sources, advert.epsilon)
    return advert


def check_terms(price_wei: int, sources: Sequence[str], epsilon: int) -> None:
    """Terms that can be advertised. Raises RuleBroken."""
    if not 0 < price_wei <= MAX_WEI:
        raise RuleBroken("a profile has a price; who gives his wants away posts demands")
    if not sources or len(set(sources)) != len(sources):
        raise RuleBroken(f"name what is sold, each once, of {', '.join(SOURCES)}")
    if not 0 <= epsilon <= MAX_EPSILON:
        raise RuleBroken(f"epsilon is 0 (no noise) to {MAX_EPSILON}")
