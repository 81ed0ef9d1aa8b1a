"""A withdrawal takes back an earlier item of the same signer: an offer that is sold out, a demand that is met."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.codec import Message, decode
from protocols.envelope import Item
from protocols.errors import RuleBroken
from protocols.ids import parse_domain
from protocols.offers.offer import MAX_CLOCK_SKEW_S, check_context

KIND = "withdrawal"
MAX_BYTES = 512


class Withdrawal(Message, frozen=True, kw_only=True):
    """`target` is the id of what is taken back; only its signer's withdrawal counts. `at` is UTC seconds."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    network: Annotated[str, Meta(max_length=64)]
    chain_id: Annotated[int, Meta(ge=1, le=(1 << 53) - 1)]
    domain: Annotated[str, Meta(max_length=32)]
    target: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    at: Annotated[int, Meta(ge=0, le=1 << 53)]


def read_withdrawal(item: Item, *, network: str, chain_id: int, now: int) -> Withdrawal:
    """The withdrawal in a checked envelope. Raises Malformed, BadIdentifier or RuleBroken."""
    if item.kind != KIND:
        raise RuleBroken(f"a withdrawal was expected, this is a {item.kind!r}")
    withdrawal = decode(item.body, Withdrawal, max_bytes=MAX_BYTES)
    check_context(withdrawal.network, withdrawal.chain_id, network, chain_id)
    parse_domain(withdrawal.domain)
    if withdrawal.at > now + MAX_CLOCK_SKEW_S:
        raise RuleBroken("the withdrawal is dated in the future; check the clocks")
    return withdrawal
