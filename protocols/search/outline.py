"""`/schwung/outline/1`: what an offer's records are about, in more detail than the sketch that gossip carries.

    asker                                              shard owner
      OutlineRequest(offer) ──▶
      ◀── OutlineReply(regions)                        or a refusal: the owner shows no outlines

An offer never changes, so its outline is fetched once. It says of groups of records, never of one: their mean, and the
few directions along which they differ most. How small a group may be is the owner's choice.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.codec import Message
from protocols.offers.offer import MAX_DIM, Count
from protocols.quality import Ppm

PROTOCOL = "/schwung/outline/1"
MAX_REQUEST_BYTES = 256
MAX_REPLY_BYTES = 1 << 20
MAX_REGIONS = 256
MAX_AXES = 16

Direction = Annotated[bytes, Meta(min_length=8, max_length=MAX_DIM)]


class Axis(Message, frozen=True, kw_only=True):
    """A direction in int8 components, and the standard deviation of the records along it."""

    vector: Direction
    spread: Ppm


class Region(Message, frozen=True, kw_only=True):
    """Records that lie together: the direction of their mean in int8 components, its length, and their main axes."""

    records: Count
    vector: Direction
    focus: Ppm
    axes: Annotated[list[Axis], Meta(max_length=MAX_AXES)] = []


class OutlineRequest(Message, frozen=True, kw_only=True):
    """The id of an open offer of the peer that is asked."""

    offer: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class OutlineReply(Message, frozen=True, kw_only=True):
    """The regions of the offer's records, made with the model that the offer names; or why there are none."""

    regions: Annotated[list[Region], Meta(max_length=MAX_REGIONS)] = []
    refused: Annotated[str, Meta(max_length=200)] = ""
