"""What a buyer asks of a seller over `/schwung/exchange/1`, with every answer checked before it is believed."""

from __future__ import annotations

from typing import Protocol

from node.exchange.errors import SellerBusy, SellerSilent
from node.network.errors import NetworkError
from protocols.codec import encode
from protocols.errors import ProtocolError
from protocols.exchange.handover import MaskedKey
from protocols.exchange.messages import (
    MAX_REPLY_BYTES,
    PASSING,
    PROTOCOL,
    Confirmed,
    ConfirmRequest,
    Handover,
    KeyRequest,
    Opening,
    Openings,
    OpeningsRequest,
    Refusal,
    Request,
    read_reply,
)
from protocols.ids import PeerId

TIMEOUT_S = 20.0  # a seller may have to poll his chain endpoint before he answers


class Wire(Protocol):
    """The network as a buyer uses it."""

    async def request(
        self, peer: PeerId, protocol: str, body: bytes, *, timeout_s: float, max_reply_bytes: int
    ) -> bytes: ...


async def ask_openings(wire: Wire, peer: PeerId, offer: str, wanted: list[int], block: int) -> list[Opening]:
    """The keys of exactly the cells `wanted`. Raises SellerSilent with what was wrong, SellerBusy when it may pass."""
    reply = await _ask(wire, peer, OpeningsRequest(offer=offer))
    if not isinstance(reply, Openings):
        raise SellerSilent("the seller answered with something else than openings")
    if reply.block != block or sorted(opening.cell for opening in reply.openings) != wanted:
        raise SellerSilent("the seller opened other cells than the block hash chose")
    return reply.openings


async def ask_key(wire: Wire, peer: PeerId, offer: str, sale: str) -> MaskedKey:
    """The masked content key of a locked sale. Raises SellerSilent."""
    reply = await _ask(wire, peer, KeyRequest(offer=offer, sale=sale))
    if not isinstance(reply, Handover):
        raise SellerSilent("the seller answered with something else than a key")
    return MaskedKey(ex=reply.ex, parity=reply.parity, masked=reply.masked)


async def bring_consent(wire: Wire, peer: PeerId, offer: str, sale: str, signature: bytes) -> None:
    """Give the seller the signed confirmation of a sale. Raises SellerSilent when he has not taken it."""
    reply = await _ask(wire, peer, ConfirmRequest(offer=offer, sale=sale, signature=signature))
    if not isinstance(reply, Confirmed):
        raise SellerSilent("the seller answered a confirmation with something else")


async def _ask(wire: Wire, peer: PeerId, request: Request) -> Openings | Handover | Confirmed:
    try:
        raw = await wire.request(peer, PROTOCOL, encode(request), timeout_s=TIMEOUT_S, max_reply_bytes=MAX_REPLY_BYTES)
        reply = read_reply(raw)
    except (NetworkError, ProtocolError) as err:
        raise SellerSilent(f"the seller did not answer: {err}") from err
    if isinstance(reply, Refusal):
        refused = SellerBusy if reply.kind in PASSING else SellerSilent
        raise refused(f"the seller refused: {reply.message}")
    return reply
