"""`/schwung/catalog/1` and `/schwung/items/1`: what did I miss while I was away?

    asker                                       answerer
      CatalogRequest(domain, epoch, after) ──▶    ids that came in after that number, in their order
      ◀── CatalogIndex(epoch, ids, next)
      ItemsRequest(ids not known yet) ──▶         their envelopes
      ◀── Items(envelopes)

Sequence numbers are local to the answerer's store, which `epoch` names: after a loss of the store they begin anew, and
so does the asker. Nothing has to be agreed on, a neighbour without news costs one empty page, and what another
neighbour told already costs 32 bytes. Set reconciliation would save the ids of a first meeting, and cost rounds and
work at every later one.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.codec import Message
from protocols.envelope import MAX_ENVELOPE_BYTES

PROTOCOL = "/schwung/catalog/1"
ITEMS = "/schwung/items/1"
MAX_PAGE_IDS = 1_024
MAX_INDEX_BYTES = 40 * MAX_PAGE_IDS
MAX_ITEMS = 256
MAX_REQUEST_BYTES = 40 * MAX_ITEMS
MAX_PAGE_BYTES = 1 << 20  # a page ends early rather than grow beyond this
MAX_REPLY_BYTES = MAX_PAGE_BYTES + MAX_ENVELOPE_BYTES + 1_024

Id = Annotated[bytes, Meta(min_length=32, max_length=32)]
Epoch = Annotated[bytes, Meta(max_length=16)]
Sequence = Annotated[int, Meta(ge=0, le=1 << 53)]


class CatalogRequest(Message, frozen=True, kw_only=True):
    """What of a domain came in after sequence number `after` of the store `epoch`, empty for "from the beginning"."""

    domain: Annotated[str, Meta(min_length=1, max_length=32)]
    epoch: Epoch = b""
    after: Sequence = 0


class CatalogIndex(Message, frozen=True, kw_only=True):
    """Ids in order, the store they are of, and the number to ask from next. Without ids nothing is newer."""

    epoch: Epoch
    ids: Annotated[list[Id], Meta(max_length=MAX_PAGE_IDS)] = []
    next: Sequence = 0


class ItemsRequest(Message, frozen=True, kw_only=True):
    ids: Annotated[list[Id], Meta(min_length=1, max_length=MAX_ITEMS)]


class Items(Message, frozen=True, kw_only=True):
    """The envelopes of the first `looked_at` ids asked for, without those that are gone; the rest did not fit."""

    envelopes: Annotated[list[bytes], Meta(max_length=MAX_ITEMS)] = []
    looked_at: Annotated[int, Meta(ge=1, le=MAX_ITEMS)]
