"""A rating that only a paying user can give: it names the settled sale or the settled lane that entitles him.

The chain decides whether the ticket is good; whoever receives a rating checks the chain before it counts.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.codec import Message, decode
from protocols.envelope import MAX_BODY_BYTES, Item
from protocols.errors import RuleBroken
from protocols.ids import parse_domain
from protocols.offers.offer import MAX_CLOCK_SKEW_S, check_context

KIND = "feedback"
SUBJECTS = ("offer", "model")
OUTCOMES = ("", "used", "not_used", "clicked", "bought", "returned")


class Rating(Message, frozen=True, kw_only=True):
    """One to five for an offer (`ticket` = sale id, decimal) or a model (`ticket` = model id, hex)."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    network: Annotated[str, Meta(max_length=64)]
    chain_id: Annotated[int, Meta(ge=1, le=(1 << 53) - 1)]
    domain: Annotated[str, Meta(max_length=32)]
    subject_kind: Annotated[str, Meta(max_length=8)]
    subject: Annotated[str, Meta(max_length=66)]
    ticket: Annotated[str, Meta(min_length=1, max_length=66)]
    rating: Annotated[int, Meta(ge=1, le=5)]
    comment: Annotated[str, Meta(max_length=1_000)] = ""
    outcome: Annotated[str, Meta(max_length=16)] = ""
    created_at: Annotated[int, Meta(ge=0, le=1 << 53)]


def read_rating(item: Item, *, network: str, chain_id: int, now: int) -> Rating:
    """The rating in a checked envelope. Raises Malformed, BadIdentifier or RuleBroken."""
    if item.kind != KIND:
        raise RuleBroken(f"a rating was expected, this is a {item.kind!r}")
    rating = decode(item.body, Rating, max_bytes=MAX_BODY_BYTES)
    check_context(rating.network, rating.chain_id, network, chain_id)
    parse_domain(rating.domain)
    if rating.created_at > now + MAX_CLOCK_SKEW_S:
        raise RuleBroken("the rating is dated in the future; check the clocks")
    if rating.subject_kind not in SUBJECTS:
        raise RuleBroken(f"subject_kind {rating.subject_kind!r}: one of {', '.join(SUBJECTS)}")
    if rating.outcome not in OUTCOMES:
        raise RuleBroken(f"outcome {rating.outcome!r}: one of {', '.join(OUTCOMES[1:])} or none")
    return rating
