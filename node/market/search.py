"""Semantic search without a central index: the own shard first, then the few peers whose sketches promise most.

Peers are asked in parallel under one deadline; whoever is late is left out. A peer answers with previews of records
that stand in his open offers; a hit that names an offer which is not his is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog
import trio

from node.embed import Embedder
from node.market.catalog import Catalog, Listed
from node.market.offers import Offers
from node.market.ports import Wire
from node.market.sketch import Vectors, closeness, dequantise, quantise
from node.network.errors import NetworkError
from node.shard import Shard
from node.shard.record import ShardRecord
from protocols.codec import decode, encode
from protocols.errors import ProtocolError
from protocols.ids import PeerId
from protocols.offers.offer import Offer
from protocols.quality import PPM
from protocols.search.messages import (
    MAX_HITS,
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    PREVIEW_CHARS,
    PROTOCOL,
    SearchHit,
    SearchReply,
    SearchRequest,
)

log = structlog.get_logger(__name__)

DEFAULT_PEERS = 3  # in a market of a few dozen sellers the first three sketches hold most of what a query wants
DEADLINE_S = 5.0  # a person waits; a slow peer is worth less than a quick answer
CANDIDATES = 4  # of the own shard's hits only those on offer may be told: look at this many times the limit


class Found(msgspec.Struct, frozen=True):
    """One hit. `text` is whole for own records and a preview for a peer's; `score` is a cosine."""

    text: str
    score: float
    peer: PeerId
    offer: str
    record: str
    language: str


class SearchResult(msgspec.Struct, frozen=True):
    """Hits, best first; how many peers were asked and answered, and what was paid (base units)."""

    items: list[Found]
    asked: int
    answered: int
    paid: str


class Search:
    """Asks and answers."""

    def __init__(self, *, shard: Shard, embedder: Embedder, catalog: Catalog, offers: Offers, wire: Wire) -> None:
        self._shard = shard
        self._embedder = embedder
        self._catalog = catalog
        self._offers = offers
        self._wire = wire

    def serve(self) -> None:
        """Answer peers' queries from now on."""
        self._wire.serve(PROTOCOL, self._answer, max_request_bytes=MAX_REQUEST_BYTES, concurrency=4)

    async def run(self, query: str, *, domain: str | None, limit: int, max_peers: int | None = None) -> SearchResult:
        """Search here and at the most promising peers."""
        vector = (await self._embedder.embed([query], query=True))[0]
        found = await self._here(vector, domain, limit)
        peers = self._promising(vector, domain, DEFAULT_PEERS if max_peers is None else max_peers)
        replies = await self._ask(peers, vector, domain, limit)
        for peer, hits in replies.items():
            found += [_found(peer, hit) for hit in hits if self._is_his(peer, hit.offer)]
        found.sort(key=lambda f: -f.score)
        return SearchResult(items=found[:limit], asked=len(peers), answered=len(replies), paid="0")

    async def _here(self, vector: Vectors, domain: str | None, limit: int) -> list[Found]:
        hits = await self._shard.search(vector, limit=limit, domain=domain)
        return [
            Found(
                text=hit.record.text,
                score=hit.score,
                peer=self._wire.peer_id,
                offer=self._offers.offer_of(hit.record.id) or "",
                record=hit.record.id,
                language=hit.record.language,
            )
            for hit in hits
        ]

    def _promising(self, vector: Vectors, domain: str | None, most: int) -> list[PeerId]:
        best: dict[PeerId, float] = {}
        for listed in self._catalog.every(Offer):
            if self._is_candidate(listed, domain):
                score = closeness(vector, listed.body.sketch)
                best[listed.item.peer] = max(score, best.get(listed.item.peer, -1.0))
        return sorted(best, key=lambda peer: -best[peer])[:most]

    def _is_candidate(self, listed: Listed[Offer], domain: str | None) -> bool:
        return (
            listed.item.peer != self._wire.peer_id
            and listed.body.model_id == self._embedder.model_id
            and domain in (None, "", listed.body.domain)
        )

    async def _ask(
        self, peers: Sequence[PeerId], vector: Vectors, domain: str | None, limit: int
    ) -> dict[PeerId, list[SearchHit]]:
        request = encode(
            SearchRequest(
                domain=domain or "",
                vector=quantise(vector),
                model_id=self._embedder.model_id,
                limit=min(limit, MAX_HITS),
            )
        )
        replies: dict[PeerId, list[SearchHit]] = {}

        async def ask(peer: PeerId) -> None:
            try:
                raw = await self._wire.request(
                    peer, PROTOCOL, request, timeout_s=DEADLINE_S, max_reply_bytes=MAX_REPLY_BYTES
                )
                reply = decode(raw, SearchReply, max_bytes=MAX_REPLY_BYTES)
            except (NetworkError, ProtocolError) as err:
                log.info("a peer did not answer a search", peer=peer, reason=str(err))
                return
            if not reply.refused:
                replies[peer] = reply.hits

        with trio.move_on_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                for peer in peers:
                    nursery.start_soon(ask, peer)
        return replies

    def _is_his(self, peer: PeerId, offer: str) -> bool:
        listed = self._catalog.get(offer, Offer)
        return listed is not None and listed.item.peer == peer

    async def _answer(self, peer: PeerId, body: bytes) -> bytes:
        request = decode(body, SearchRequest, max_bytes=MAX_REQUEST_BYTES)
        if request.model_id != self._embedder.model_id or len(request.vector) != self._embedder.dim:
            return encode(SearchReply(refused=f"vectors here are of model {self._embedder.model_id}"))
        hits = await self._shard.search(
            dequantise(request.vector), limit=request.limit * CANDIDATES, domain=request.domain or None
        )
        told = [
            self._hit(hit.record, offer, hit.score) for hit in hits if (offer := self._offers.offer_of(hit.record.id))
        ]
        return encode(SearchReply(hits=told[: request.limit]))

    def _hit(self, record: ShardRecord, offer: str, score: float) -> SearchHit:
        bounded = int(min(1.0, max(-1.0, score)) * PPM)
        return SearchHit(offer=offer, preview=preview(record), language=record.language, score=bounded)


def preview(record: ShardRecord) -> str:
    """The first words of a record: enough to judge relevance, too little to be the goods."""
    text = " ".join(f"{record.title} {record.text}".split())
    return text if len(text) <= PREVIEW_CHARS else text[:PREVIEW_CHARS].rstrip() + "…"


def _found(peer: PeerId, hit: SearchHit) -> Found:
    return Found(text=hit.preview, score=hit.score / PPM, peer=peer, offer=hit.offer, record="", language=hit.language)
