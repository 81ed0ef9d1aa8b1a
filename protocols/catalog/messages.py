"""`/schwung/catalog/1`: what did I miss while I was away?

The asker names the last sequence number it has of the answerer's catalogue; the answerer sends the envelopes that
follow, a bounded page at a time. Sequence numbers are local to the answerer, so nothing has to be agreed on.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.codec import Message
from protocols.envelope import MAX_ENVELOPE_BYTES

PROTOCOL = "/schwung/catalog/1"
MAX_REQUEST_BYTES = 256
MAX_PAGE_ITEMS = 64
MAX_PAGE_BYTES = 1 << 20  # a page ends early rather than grow beyond this
MAX_REPLY_BYTES = MAX_PAGE_BYTES + MAX_ENVELOPE_BYTES + 1_024


class CatalogRequest(Message, frozen=True, kw_only=True):
    after: Annotated[int, Meta(ge=0, le=1 << 53)] = 0


class CatalogPage(Message, frozen=True, kw_only=True):
    """Envelopes in order, and the sequence number to ask from next. An empty page means nothing is newer."""

    envelopes: Annotated[list[bytes], Meta(max_length=MAX_PAGE_ITEMS)] = []
    next: Annotated[int, Meta(ge=0, le=1 << 53)] = 0
