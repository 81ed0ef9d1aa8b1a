"""`/schwung/search/1`: a query vector goes out, previews of records that are on offer come back.

A peer answers only from records that stand in an open offer of his, with a preview and never the text.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.codec import Message
from protocols.offers.offer import MAX_DIM

PROTOCOL = "/schwung/search/1"
MAX_REQUEST_BYTES = 4 * 1024
MAX_REPLY_BYTES = 64 * 1024
MAX_HITS = 50
PREVIEW_CHARS = 96  # enough to judge relevance, too little to be the goods


class SearchRequest(Message, frozen=True, kw_only=True):
    """`vector` is int8 components of a unit vector × 127, made by the model `model_id`."""

    domain: Annotated[str, Meta(max_length=32)] = ""
    vector: Annotated[bytes, Meta(min_length=8, max_length=MAX_DIM)]
    model_id: Annotated[str, Meta(max_length=96)]
    limit: Annotated[int, Meta(ge=1, le=MAX_HITS)] = 10


class SearchHit(Message, frozen=True, kw_only=True):
    """One record on offer. `score` is the cosine in ppm, may be negative."""

    offer: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    preview: Annotated[str, Meta(max_length=PREVIEW_CHARS + 1)]
    language: Annotated[str, Meta(max_length=12)] = ""
    score: Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]


class SearchReply(Message, frozen=True, kw_only=True):
    hits: Annotated[list[SearchHit], Meta(max_length=MAX_HITS)] = []
    refused: Annotated[str, Meta(max_length=200)] = ""
