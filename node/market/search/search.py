"""Semantic search without a central index: the own shard first, then the few peers whose records promise most.

    own shard ─ scores at hand ─┐
    sketches, outlines ─────────┴ who probably adds to the best hits? ─ the FIRST of them asked, in parallel
              replies raise the bar ─ who may still add LEAST_HITS? ─ asked too, in parallel
              merged by score ─ previews that cost are bought for the best only, within the budget

All under one deadline; whoever is later is left out. A peer answers from records that stand in his open offers; a hit
that names an offer which is not his is dropped. The outlines of those who promise most are fetched beside the search,
for the searches that follow. What a peer's sketch promised is compared with what came, and his scores with his own
previews: who promises more than he holds is asked less, as is who does not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import structlog
import trio

from node.embed import Embedder
from node.market.catalog.catalog import Catalog
from node.market.ports import Events, OnOffer, Wire
from node.market.search.asking import Answer, Best, Found, affordable, merge, opened, sift
from node.market.search.outlining import Outlines
from node.market.search.previews import Previews
from node.market.search.routing import choose, expected_hits
from node.market.search.shelving import Shelving
from node.market.search.sketch import Vectors, quantise
from node.market.search.trust import SCORES_COMPARED, Trust, overstated
from node.network.errors import NetworkError
from node.shard import Shard
from protocols.codec import decode, encode
from protocols.errors import ProtocolError
from protocols.ids import PeerId
from protocols.offers.offer import Offer
from protocols.search.messages import (
    MAX_HITS,
    MAX_REPLY_BYTES,
    PROTOCOL,
    SearchReply,
    SearchRequest,
)

log = structlog.get_logger(__name__)

MOST_PEERS = 8  # asked for one query, unless the caller says otherwise
FIRST = 4  # asked at once: their hits say how good a further peer would have to be; with 2 no fewer are asked in all
LEAST_HITS = 0.2  # of the wanted hits: who probably adds less is not worth a round trip (tests/bench/search.py)
PATIENCE_S = 1.0  # with a wave: five round trips of 200 ms
DEADLINE_S = 5.0  # a person waits; a slow peer is worth less than a quick answer


Noted = Callable[[str, Vectors], None]


class SearchResult(msgspec.Struct, frozen=True):
    """Hits, best first; how many peers were asked and answered, and what was paid (base units)."""

    items: list[Found]
    asked: int
    answered: int
    paid: str


class _Query(msgspec.Struct):
    """One search while it runs."""

    vector: Vectors
    domain: str
    limit: int
    progress: str
    here: list[Found]
    expected: dict[PeerId, float] = {}  # of everybody who was asked
    answers: dict[PeerId, Answer] = {}

    def best(self) -> Best:
        """The wanted hits so far."""
        return merge(self.here, self.answers, self.limit)


class Search:
    """Asks; `answering` is the other side."""

    def __init__(
        self,
        *,
        shard: Shard,
        embedder: Embedder,
        catalog: Catalog,
        offers: OnOffer,
        wire: Wire,
        previews: Previews,
        outlines: Outlines,
        events: Events,
    ) -> None:
        self._shard = shard
        self._embedder = embedder
        self._catalog = catalog
        self._offers = offers
        self._wire = wire
        self._previews = previews
        self._events = events
        self._trust = Trust()
        self._shelving = Shelving(catalog, outlines, own=wire.peer_id, model_id=embedder.model_id, dim=embedder.dim)
        self._noted: Noted = _unnoted

    def on_query(self, noted: Noted) -> None:
        """Tell of what is asked here: the domain, "" for all, and the vector."""
        self._noted = noted

    async def run(
        self,
        query: str,
        *,
        domain: str | None,
        limit: int,
        max_peers: int | None = None,
        budget_wei: int = 0,
        progress: str = "",
    ) -> SearchResult:
        """Search here and at the most promising peers; at most `budget_wei` is paid for previews.

        Under a `progress` token every peer's hits are told as they come, as events of the topic `search`.
        """
        vector = (await self._embedder.embed([query], query=True))[0]
        self._noted(domain or "", vector)
        here = await self._here(vector, domain, limit)
        asking = _Query(vector, domain or "", limit, progress, here, {}, {})
        self._tell(asking, self._wire.peer_id, here)
        await self._ask_around(asking, MOST_PEERS if max_peers is None else max_peers)
        best = asking.best()
        for peer, expected in asking.expected.items():
            if peer in asking.answers:
                self._trust.came(peer, expected, sum(whose == peer for whose, _, _ in best))
            else:
                self._trust.silent(peer)
        self._trust.rested(asking.expected)
        items, paid_wei = await self._opened(asking, best, budget_wei)
        await self._audit(asking, items)
        return SearchResult(items=items, asked=len(asking.expected), answered=len(asking.answers), paid=str(paid_wei))

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

    async def _ask_around(self, asking: _Query, most: int) -> None:
        """Two waves: the second knows from the first how good a hit must be. Who is slow holds up nobody: without his
        answer the second wave asks others in his place, and his answer counts until the deadline.
        """
        arranged = await self._shelving.of(asking.domain, asking.vector)
        with trio.move_on_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                for wave in (min(FIRST, most), most - FIRST):
                    known = [found.score for _, _, found in asking.best()]
                    expected = expected_hits(asking.vector, arranged.shelves, asking.limit, known, asking.expected)
                    if not asking.expected:
                        self._shelving.outline(arranged, expected)
                    peers = choose(expected, self._trust.factors, most=max(wave, 0), least=LEAST_HITS)
                    asking.expected |= {peer: expected[peer] for peer in peers}
                    heard = [trio.Event() for _ in peers]
                    for peer, event in zip(peers, heard, strict=True):
                        nursery.start_soon(self._ask, asking, peer, event)
                    with trio.move_on_after(PATIENCE_S):
                        for event in heard:
                            await event.wait()

    async def _ask(self, asking: _Query, peer: PeerId, heard: trio.Event) -> None:
        request = SearchRequest(
            domain=asking.domain,
            vector=quantise(asking.vector),
            model_id=self._embedder.model_id,
            limit=min(asking.limit, MAX_HITS),
        )
        try:
            raw = await self._wire.request(
                peer,
                PROTOCOL,
                encode(request),
                timeout_s=DEADLINE_S,
                max_reply_bytes=MAX_REPLY_BYTES,
                repeatable=True,
            )
            reply = decode(raw, SearchReply, max_bytes=MAX_REPLY_BYTES)
            if reply.refused:
                log.info("a peer refused a search", peer=peer, reason=reply.refused)
            else:
                answer = sift(peer, reply, asking.limit, lambda offer: self._fits(asking, peer, offer))
                asking.answers[peer] = answer
                self._tell(asking, peer, [one for _, one in answer.found])
        except (NetworkError, ProtocolError) as err:
            log.info("a peer did not answer a search", peer=peer, reason=str(err))
        finally:
            heard.set()

    def _fits(self, asking: _Query, peer: PeerId, offer: str) -> bool:
        """Whether an offer is open, the peer's own, and of the domain that is searched."""
        listed = self._catalog.get(offer, Offer)
        return listed is not None and listed.item.peer == peer and asking.domain in ("", listed.body.domain)

    def _tell(self, asking: _Query, peer: PeerId, found: Sequence[Found]) -> None:
        if asking.progress:
            items = [msgspec.to_builtins(one) for one in found]
            self._events.publish("search", {"progress": asking.progress, "peer": peer, "items": items})

    async def _opened(self, asking: _Query, best: Best, budget_wei: int) -> tuple[list[Found], int]:
        """The hits with the previews that were bought, best first, and what they cost. Owners are paid in parallel."""
        chosen = affordable(best, asking.answers, budget_wei)
        texts: dict[PeerId, list[str]] = {}
        paid_wei = 0

        async def buy(peer: PeerId, answer: Answer, places: list[int], cost_wei: int) -> None:
            nonlocal paid_wei
            if answer.terms is not None:
                bought = await self._previews.open(peer, answer.query, answer.terms, places, cost_wei)
                texts[peer] = bought.previews
                paid_wei += bought.paid_wei

        async with trio.open_nursery() as nursery:
            for peer, (places, cost_wei) in chosen.items():
                nursery.start_soon(buy, peer, asking.answers[peer], places, cost_wei)
        return opened(best, texts, chosen), paid_wei

    async def _audit(self, asking: _Query, items: Sequence[Found]) -> None:
        """Compare a peer's scores with his own previews now and then."""
        by_peer: dict[PeerId, list[Found]] = {}
        for one in items:
            if one.text and one.peer != self._wire.peer_id:
                by_peer.setdefault(one.peer, []).append(one)
        doubtful = max(by_peer, key=lambda peer: sum(one.score for one in by_peer[peer]), default=None)
        if doubtful is None or len(by_peer[doubtful]) < SCORES_COMPARED or not self._trust.is_due(doubtful):
            return
        shown = by_peer[doubtful][:SCORES_COMPARED]
        scores = await self._embedder.embed([one.text for one in shown]) @ asking.vector
        usual = (await self._shelving.of(asking.domain, asking.vector)).shelves.usual(asking.vector)
        if overstated([one.score for one in shown], [float(score) for score in scores], usual):
            log.warning("a peer's scores are above what its previews bear out", peer=doubtful)
            self._trust.lied(doubtful)


def _unnoted(domain: str, vector: Vectors) -> None:
    """Nobody keeps what is asked."""
