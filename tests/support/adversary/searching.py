"""Owners of records who take money for previews and show none."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from node.market.search.answering import Answering
from node.network.errors import NetworkError
from protocols.codec import decode, encode
from protocols.ids import PeerId
from protocols.search.messages import LANE, MAX_REQUEST_BYTES, PreviewReply, PreviewRequest
from tests.support.adversary.serving import Replace

PRICE = "SCHWUNG_MARKET__SEARCH_PRICE_WEI"
Show = Callable[[Answering, PreviewRequest], Awaitable[bytes]]


def taking(show: Show) -> Callable[[Replace, str], None]:
    """Asks the argument (base units) for a preview, takes the voucher, and then does something else."""

    def behaviour(replace: Replace, price_wei: str) -> None:
        os.environ[PRICE] = price_wei

        async def _open(self: Answering, peer: PeerId, body: bytes) -> bytes:
            request = decode(body, PreviewRequest, max_bytes=MAX_REQUEST_BYTES)
            await self._till.accept(request.voucher, payee=self._signer.address, lane=LANE)
            return await show(self, request)

        replace(Answering, "_open", _open)

    return behaviour


async def _nothing(self: Answering, request: PreviewRequest) -> bytes:
    raise NetworkError("hangs up")


async def _too_few(self: Answering, request: PreviewRequest) -> bytes:
    return encode(PreviewReply(previews=[]))


async def _shown_before(self: Answering, request: PreviewRequest) -> bytes:
    """Says that what was paid for has been shown already."""
    terms: Any = self._terms(request.voucher.cumulative)
    return encode(PreviewReply(refused="pay for these", terms=terms))


async def _shown_before_for_this(self: Answering, request: PreviewRequest) -> bytes:
    """Says so, and shows the voucher he was just given as if the buyer had forgotten it."""
    terms: Any = self._terms(request.voucher.cumulative, request.voucher)
    return encode(PreviewReply(refused="pay for these", terms=terms))


BEHAVIOURS: dict[str, Callable[[Replace, str], None]] = {
    "shows-nothing": taking(_nothing),
    "shows-too-few": taking(_too_few),
    "showed-before": taking(_shown_before),
    "showed-before-for-this": taking(_shown_before_for_this),
}
