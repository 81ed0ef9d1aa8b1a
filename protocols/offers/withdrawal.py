"""A withdrawal takes back an earlier item of the same signer: an offer that is sold out, a demand that is met."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.codec import Message, decode
from protocols.envelope import Item
from protocols.errors import RuleBroken
from protocols.ids import ItemId, parse_item_id

KIND = "withdrawal"
MAX_BYTES = 512


class Withdrawal(Message, frozen=True, kw_only=True):
    """`item` is the id of what is withdrawn; only its signer's withdrawal counts. `at` is UTC seconds."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    item: Annotated[str, Meta(max_length=64)]
    at: Annotated[int, Meta(ge=0, le=1 << 53)]


def read_withdrawal(item: Item) -> ItemId:
    """The id of the withdrawn item. Raises Malformed, BadIdentifier or RuleBroken."""
    if item.kind != KIND:
        raise RuleBroken(f"a withdrawal was expected, this is a {item.kind!r}")
    return parse_item_id(decode(item.body, Withdrawal, max_bytes=MAX_BYTES).item)
