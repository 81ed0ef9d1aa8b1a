"""The demand: a want as a vector, a domain and the most its author would pay.

The text of the want stays at home; only its embedding is published. A vector still leaks some of the meaning, so
posting a demand is a deliberate act of its owner.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.codec import Message, decode
from protocols.envelope import MAX_BODY_BYTES, Item
from protocols.errors import RuleBroken
from protocols.ids import parse_domain
from protocols.offers.offer import MAX_DIM, check_context, check_lifetime
from protocols.wei import Wei

KIND = "demand"
TOPIC = "demands"


class Demand(Message, frozen=True, kw_only=True):
    """A want. `vector` is a direction in int8 components; times are UTC seconds."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    network: Annotated[str, Meta(max_length=64)]
    chain_id: Annotated[int, Meta(ge=1, le=(1 << 53) - 1)]
    domain: Annotated[str, Meta(max_length=32)]
    vector: Annotated[bytes, Meta(min_length=8, max_length=MAX_DIM)]
    model_id: Annotated[str, Meta(max_length=96)]
    max_price_wei: Wei
    created_at: Annotated[int, Meta(ge=0, le=1 << 53)]
    expires_at: Annotated[int, Meta(ge=0, le=1 << 53)]


def read_demand(item: Item, *, network: str, chain_id: int, now: int) -> Demand:
    """The demand in a checked envelope. Raises Malformed, BadIdentifier or RuleBroken."""
    if item.kind != KIND:
        raise RuleBroken(f"a demand was expected, this is a {item.kind!r}")
    demand = decode(item.body, Demand, max_bytes=MAX_BODY_BYTES)
    check_context(demand.network, demand.chain_id, network, chain_id)
    check_lifetime(demand.created_at, demand.expires_at, now)
    parse_domain(demand.domain)
    return demand
