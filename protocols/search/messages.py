"""`/schwung/search/1` and `/schwung/previews/1`: a query vector goes out, what is on offer and near it comes back.

    asker                                                   shard owner
      SearchRequest(vector, domain, limit) ──▶                hits by score; previews too when they are free
      ◀── SearchReply(hits, terms)
      PreviewRequest(query, places, voucher) ──▶              only what belongs to the best of all peers' hits is bought
      ◀── PreviewReply(previews)                              or a refusal, with terms when money is missing

An owner answers only from records that stand in an open offer of his, with a preview and never the text. A preview
request may be sent again with the same voucher: it is answered again without being charged again.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from msgspec import Meta

from protocols.codec import Message, encode
from protocols.offers.offer import MAX_DIM
from protocols.voucher import Voucher
from protocols.wei import Wei

PROTOCOL = "/schwung/search/1"
PREVIEWS = "/schwung/previews/1"
LANE = int.from_bytes(hashlib.sha256(PREVIEWS.encode()).digest()[:8], "big")  # of the vouchers for previews
MAX_REQUEST_BYTES = 4 * 1024
MAX_REPLY_BYTES = 64 * 1024
MAX_HITS = 50
PREVIEW_CHARS = 96  # enough to judge relevance, too little to be the goods

Preview = Annotated[str, Meta(max_length=PREVIEW_CHARS + 1)]
QueryId = Annotated[bytes, Meta(min_length=16, max_length=16)]


class SearchRequest(Message, frozen=True, kw_only=True):
    """`vector` is a direction in int8 components, made by the model `model_id`."""

    domain: Annotated[str, Meta(max_length=32)] = ""
    vector: Annotated[bytes, Meta(min_length=8, max_length=MAX_DIM)]
    model_id: Annotated[str, Meta(max_length=96)]
    limit: Annotated[int, Meta(ge=1, le=MAX_HITS)] = 10


class SearchHit(Message, frozen=True, kw_only=True):
    """One record on offer. `score` is the cosine in ppm, may be negative; `preview` is empty where it costs."""

    offer: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    preview: Preview
    language: Annotated[str, Meta(max_length=12)] = ""
    score: Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]


class SearchTerms(Message, frozen=True, kw_only=True):
    """A voucher to `payee` on LANE, of `price_wei` a preview above `served_wei`, what this payer was served for.

    In a SearchReply, where no payer is named, `served_wei` is 0. `held` is the newest voucher that is held, shown to
    its signer when he sends an older sum: his journal is lost.
    """

    payee: Annotated[str, Meta(max_length=42)]
    price_wei: Wei
    served_wei: Wei = "0"
    held: Voucher | None = None


class SearchReply(Message, frozen=True, kw_only=True):
    """Best hits first; with `terms`, the previews of `query` are for sale for a while."""

    hits: Annotated[list[SearchHit], Meta(max_length=MAX_HITS)] = []
    query: Annotated[bytes, Meta(max_length=16)] = b""
    terms: SearchTerms | None = None
    refused: Annotated[str, Meta(max_length=200)] = ""


class PreviewRequest(Message, frozen=True, kw_only=True):
    """Open the hits at `places` (from 0) of the reply `query`."""

    query: QueryId
    places: Annotated[list[Annotated[int, Meta(ge=0, lt=MAX_HITS)]], Meta(min_length=1, max_length=MAX_HITS)]
    voucher: Voucher


class PreviewReply(Message, frozen=True, kw_only=True):
    """The previews in the order of the places; or why not, with terms when money is missing."""

    previews: Annotated[list[Preview], Meta(max_length=MAX_HITS)] = []
    refused: Annotated[str, Meta(max_length=200)] = ""
    terms: SearchTerms | None = None


def preview_content(request: PreviewRequest) -> bytes:
    """32 bytes over what is asked, without the payment."""
    return hashlib.sha256(encode([request.query, request.places])).digest()
