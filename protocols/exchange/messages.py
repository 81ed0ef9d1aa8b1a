"""`/schwung/exchange/1`: what a buyer asks of a seller. One request, one reply; both idempotent.

OpeningsRequest -> Openings    the keys of the sampled cells, which follow from a block hash after the offer
KeyRequest      -> Handover    the content key, masked for the one-time key of one locked sale
ConfirmRequest  -> Confirmed   the buyer's signature under the sale is journalled and will be brought to the contract
                -> Refusal     why not, with a kind a program can act on
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.codec import Message, decode

PROTOCOL = "/schwung/exchange/1"
MAX_REQUEST_BYTES = 512
MAX_REPLY_BYTES = 16 * 1024
MAX_OPENINGS = 256

Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
OfferRef = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
SaleId = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,38}\Z")]  # 128 bits, decimal

TOO_EARLY = "too_early"  # the block that chooses the cells is not mined yet
NOT_YET = "not_yet"  # an offer is on its way that this one may be
PASSING = frozenset({TOO_EARLY, NOT_YET})  # refusals after which a buyer asks again


class OpeningsRequest(Message, frozen=True, kw_only=True, tag="openings?"):
    offer: OfferRef


class KeyRequest(Message, frozen=True, kw_only=True, tag="key?"):
    """`sale` is the on-chain sale id."""

    offer: OfferRef
    sale: SaleId


class ConfirmRequest(Message, frozen=True, kw_only=True, tag="confirm?"):
    """`signature`: EIP-2098, of `confirmation.confirm_digest`, by the wallet that locked the price."""

    offer: OfferRef
    sale: SaleId
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Opening(Message, frozen=True, kw_only=True):
    cell: Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
    key: Hash


class Openings(Message, frozen=True, kw_only=True, tag="openings"):
    """`block` is the number of the block whose hash chose the cells."""

    block: Annotated[int, Meta(ge=0, le=1 << 53)]
    openings: Annotated[list[Opening], Meta(max_length=MAX_OPENINGS)]


class Handover(Message, frozen=True, kw_only=True, tag="key"):
    """E = e·G as its x coordinate and parity, and the content key xor keccak(address(e·B) || sale)."""

    ex: Hash
    parity: Annotated[int, Meta(ge=0, le=1)]
    masked: Hash


class Confirmed(Message, frozen=True, kw_only=True, tag="confirmed"):
    """The signature is the buyer's, and is kept."""


class Refusal(Message, frozen=True, kw_only=True, tag="refusal"):
    kind: Annotated[str, Meta(max_length=32)]
    message: Annotated[str, Meta(max_length=300)]


Request = OpeningsRequest | KeyRequest | ConfirmRequest
Reply = Openings | Handover | Confirmed | Refusal


def read_request(data: bytes) -> Request:
    """What a buyer asks. Raises Malformed."""
    request: Request = decode(data, Request, max_bytes=MAX_REQUEST_BYTES)
    return request


def read_reply(data: bytes) -> Reply:
    """What a seller answers. Raises Malformed."""
    reply: Reply = decode(data, Reply, max_bytes=MAX_REPLY_BYTES)
    return reply
