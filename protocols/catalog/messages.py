"""`/schwung/catalog/2` and `/schwung/items/1`: what do you know that I do not?

    asker                                          answerer
      TreeRequest(domain, prefixes of ids) ──▶       what lies below each prefix
      ◀── TreeReply(nodes)                             up to 64 ids as they are, of more: 16 digests, one a hex digit
      … only below the digests that differ from the own ones …
      ItemsRequest(ids not known yet) ──▶            their envelopes
      ◀── Items(envelopes)

A set has one tree, whoever builds it: a node of at most MAX_LEAF ids is a leaf, its digest a hash over the sorted ids;
above it, a hash over the 16 digests below. Equal digests mean equal sets (nobody finds two sets with one SHA-256), so
nothing has to be remembered of a neighbour, none of his numbers can be false, and what was not kept at first (a clock
that is behind, no room) still differs and is found again. Why not numbered pages: see `node.market.catalog.catching`.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.codec import Message
from protocols.envelope import MAX_ENVELOPE_BYTES

PROTOCOL = "/schwung/catalog/2"
ITEMS = "/schwung/items/1"
FANOUT = 16
MAX_LEAF = 64
DIGEST_BYTES = 16
MAX_PREFIXES = 128
MAX_TREE_BYTES = MAX_PREFIXES * (MAX_LEAF * 36 + 128)
MAX_TREE_REQUEST_BYTES = MAX_PREFIXES * 66 + 256
MAX_ITEMS = 256
MAX_REQUEST_BYTES = 40 * MAX_ITEMS
MAX_PAGE_BYTES = 1 << 20  # a page ends early rather than grow beyond this
MAX_REPLY_BYTES = MAX_PAGE_BYTES + MAX_ENVELOPE_BYTES + 1_024

Id = Annotated[bytes, Meta(min_length=32, max_length=32)]
Digest = Annotated[bytes, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
Prefix = Annotated[str, Meta(max_length=63, pattern=r"^[0-9a-f]*\Z")]


class TreeRequest(Message, frozen=True, kw_only=True):
    """What of a domain lies below each prefix; of a node that has the digest `unless` only that it still has."""

    domain: Annotated[str, Meta(min_length=1, max_length=32)]
    prefixes: Annotated[list[Prefix], Meta(min_length=1, max_length=MAX_PREFIXES)]
    unless: Annotated[list[Digest], Meta(max_length=2)] = []


class Node(Message, frozen=True, kw_only=True):
    """Either the ids below a prefix, sorted, or the digests of the 16 nodes below; neither when it is as known."""

    digest: Digest
    children: Annotated[list[Digest], Meta(max_length=FANOUT)] = []
    ids: Annotated[list[Id], Meta(max_length=MAX_LEAF)] = []


class TreeReply(Message, frozen=True, kw_only=True):
    """A node for every prefix asked for, in that order."""

    nodes: Annotated[list[Node], Meta(min_length=1, max_length=MAX_PREFIXES)]


class ItemsRequest(Message, frozen=True, kw_only=True):
    ids: Annotated[list[Id], Meta(min_length=1, max_length=MAX_ITEMS)]


class Items(Message, frozen=True, kw_only=True):
    """The envelopes of the first `looked_at` ids asked for, without those that are gone; the rest did not fit."""

    envelopes: Annotated[list[bytes], Meta(max_length=MAX_ITEMS)] = []
    looked_at: Annotated[int, Meta(ge=1, le=MAX_ITEMS)]
