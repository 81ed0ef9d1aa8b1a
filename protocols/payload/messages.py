"""`/schwung/payload/1`: ranges of one content, asked for by place, several asks under way at a time.

    fetcher                                     provider
      Open(root) ──▶                              only what it pinned or made
      ◀── Opened("")                              or why not
      Nodes(first, count) ──▶                     the inner nodes of the CID tree, from the root down, left to right
      ◀── a frame each
      Leaves(first, count) ──▶                    the leaves, by their place in the content
      ◀── a frame each, empty for "not any more"

The tree is the IPFS one (chunks of 262,144 bytes as raw leaves, 174 links a node): its root is the CID that an offer
names, one SHA-256 proves a leaf on arrival, and the same bytes serve any IPFS peer by Bitswap. The tree of the sealed
payload would not do: its leaves are cells of at most 4 KiB whose commitments stand in the payload itself.

A fetcher asks only for what it has a buffer for, so it never has to stop reading: that is all the back-pressure there
is, and no muxer's stall limit can be met. Nothing is promised between two streams: a fetch goes on anywhere, at any
leaf, with any provider.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.codec import Message
from protocols.payload.shape import MAX_PAYLOAD_LEAVES

PROTOCOL = "/schwung/payload/1"
MAX_ASK_BYTES = 128
MAX_OPENED_BYTES = 512
MAX_NODES = 32  # of one ask: 330 kB
MAX_LEAVES = 16  # of one ask: 4 MiB

Root = Annotated[str, Meta(pattern=r"^b[a-z2-7]{58}\Z")]
Place = Annotated[int, Meta(ge=0, lt=MAX_PAYLOAD_LEAVES)]


class Open(Message, frozen=True, kw_only=True, tag="open"):
    """The first word: the root of the content, a CID of version 1."""

    root: Root


class Opened(Message, frozen=True, kw_only=True):
    """The answer: why not, or ""."""

    reason: Annotated[str, Meta(max_length=200)] = ""


class Nodes(Message, frozen=True, kw_only=True, tag="nodes"):
    """Inner nodes by their place, the root being 0."""

    first: Place
    count: Annotated[int, Meta(ge=1, le=MAX_NODES)]


class Leaves(Message, frozen=True, kw_only=True, tag="leaves"):
    """Leaves by their place."""

    first: Place
    count: Annotated[int, Meta(ge=1, le=MAX_LEAVES)]
