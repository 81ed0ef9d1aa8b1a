"""The other side of a search: what stands in an own open offer is told by score, its preview for free or for a price.

The money goes the way of every metered use: the voucher is checked, covered and journalled by the till, the request is
charged once in the journal, then answered. What was charged and lost on the way is answered again for nothing.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog

from node.embed import Embedder
from node.journal.model_accounts import ModelAccounts, Request
from node.market.ports import OnOffer, Signer, Wire
from node.market.search.sketch import dequantise
from node.shard import Shard
from node.shard.record import ShardRecord
from node.wallet.errors import Outdated, VoucherError, WalletError
from protocols.codec import decode, encode
from protocols.errors import ProtocolError
from protocols.ids import Address, PeerId, parse_address
from protocols.quality import PPM
from protocols.search.messages import (
    LANE,
    MAX_REQUEST_BYTES,
    PREVIEW_CHARS,
    PREVIEWS,
    PROTOCOL,
    PreviewReply,
    PreviewRequest,
    SearchHit,
    SearchReply,
    SearchRequest,
    SearchTerms,
    preview_content,
)
from protocols.voucher import Voucher

log = structlog.get_logger(__name__)

ACCOUNT = "search"  # the name under which previews are charged; models' accounts are named by 64 hex digits
CANDIDATES = 4  # of the shard's hits only those on offer may be told: look at this many times the limit
HELD_MOST = 1_024  # replies whose previews are still for sale, 100 bytes a hit
CONCURRENCY = 4


class Till(Protocol):
    """The payee's side of vouchers."""

    async def accept(self, voucher: Voucher, *, payee: Address, lane: int) -> int:
        """The sum the lane now stands at, in base units. Raises VoucherError, ProtocolError, WalletError."""
        ...


class _Held(msgspec.Struct, frozen=True):
    peer: PeerId
    previews: tuple[str, ...]


class Answering:
    """Answers peers' queries from the own shard. `price_wei` is asked for a preview; 0 gives them away."""

    def __init__(
        self,
        *,
        shard: Shard,
        embedder: Embedder,
        offers: OnOffer,
        wire: Wire,
        signer: Signer,
        till: Till,
        accounts: ModelAccounts,
        price_wei: int,
        clock: Callable[[], int],
    ) -> None:
        self._shard = shard
        self._embedder = embedder
        self._offers = offers
        self._wire = wire
        self._signer = signer
        self._till = till
        self._accounts = accounts
        self._price_wei = price_wei
        self._clock = clock
        self._held: OrderedDict[bytes, _Held] = OrderedDict()

    def serve(self) -> None:
        """Answer from now on."""
        bounds = {"max_request_bytes": MAX_REQUEST_BYTES, "concurrency": CONCURRENCY}
        self._wire.serve(PROTOCOL, self._answer, **bounds)
        self._wire.serve(PREVIEWS, self._open, **bounds)

    async def _answer(self, peer: PeerId, body: bytes) -> bytes:
        request = decode(body, SearchRequest, max_bytes=MAX_REQUEST_BYTES)
        if request.model_id != self._embedder.model_id or len(request.vector) != self._embedder.dim:
            return encode(SearchReply(refused=f"vectors here are of model {self._embedder.model_id}"))
        found = await self._shard.search(
            dequantise(request.vector), limit=request.limit * CANDIDATES, domain=request.domain or None
        )
        told = [(hit, offer) for hit in found if (offer := self._offers.offer_of(hit.record.id))][: request.limit]
        previews = tuple(preview(hit.record) for hit, _ in told)
        free = not self._price_wei
        hits = [
            SearchHit(
                offer=offer,
                preview=text if free else "",
                language=hit.record.language,
                score=int(min(1.0, max(-1.0, hit.score)) * PPM),
            )
            for (hit, offer), text in zip(told, previews, strict=True)
        ]
        if free or not hits:
            return encode(SearchReply(hits=hits))
        return encode(SearchReply(hits=hits, query=self._hold(peer, previews), terms=self._terms(0)))

    async def _open(self, peer: PeerId, body: bytes) -> bytes:
        request = decode(body, PreviewRequest, max_bytes=MAX_REQUEST_BYTES)
        held = self._held.get(request.query)
        if held is None or held.peer != peer or max(request.places) >= len(held.previews):
            return encode(PreviewReply(refused="that query is not open any more; nothing was charged"))
        try:
            payer = parse_address(request.voucher.payer)
            paid_wei = await self._till.accept(request.voucher, payee=self._signer.address, lane=LANE)
        except (VoucherError, ProtocolError) as err:
            newest = err.held if isinstance(err, Outdated) else None
            return await self._refuse(request.voucher.payer, str(err), newest)
        except WalletError as err:  # the chain or our own wallet, not the payer's fault
            return encode(PreviewReply(refused=str(err)[:200]))
        charge = Request(
            model=ACCOUNT,
            payer=payer,
            id=preview_content(request),
            content=request.query,
            cost_wei=self._price_wei * len(request.places),
            units=len(request.places),
        )
        outcome, _ = await self._accounts.charge(charge, paid_wei=paid_wei, now=self._clock())
        if outcome not in ("charged", "repeat"):
            return await self._refuse(payer, f"the voucher does not cover {len(request.places)} previews")
        return encode(PreviewReply(previews=[held.previews[place] for place in request.places]))

    async def _refuse(self, payer: str, why: str, held: Voucher | None = None) -> bytes:
        account = await self._accounts.of(ACCOUNT, payer)
        return encode(PreviewReply(refused=why[:200], terms=self._terms(account.served_wei, held)))

    def _terms(self, served_wei: int, held: Voucher | None = None) -> SearchTerms:
        return SearchTerms(
            payee=self._signer.address, price_wei=str(self._price_wei), served_wei=str(served_wei), held=held
        )

    def _hold(self, peer: PeerId, previews: tuple[str, ...]) -> bytes:
        query = secrets.token_bytes(16)
        self._held[query] = _Held(peer, previews)
        if len(self._held) > HELD_MOST:
            self._held.popitem(last=False)
        return query


def preview(record: ShardRecord) -> str:
    """The first words of a record: enough to judge relevance, too little to be the goods."""
    text = " ".join(f"{record.title} {record.text}".split())
    return text if len(text) <= PREVIEW_CHARS else text[:PREVIEW_CHARS].rstrip() + "…"
