"""`/schwung/inference/1`: one bounded request and its reply. Payment travels with the request, the receipt with the
answer.

    consumer                                              provider
      InferenceRequest(id, model, inputs, voucher) ──▶      voucher checked and journalled, then computed
      ◀── InferenceReply(outputs, receipt)                  or InferenceReply(refusal), with terms when money is missing

A request may be sent again with the same id and voucher: the provider answers it again without charging again.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from msgspec import Meta

from protocols.codec import Message, encode
from protocols.eip712 import item_digest
from protocols.offers.offer import Hash
from protocols.voucher import Voucher
from protocols.wei import Wei

PROTOCOL = "/schwung/inference/1"
RECEIPT_KIND = "receipt"
MAX_INPUTS = 32
MAX_INPUT_CHARS = 8_192
MAX_REQUEST_BYTES = 1 << 20  # 32 inputs of 8,192 characters, four bytes each at worst
MAX_REPLY_BYTES = 1 << 20
MAX_WIDTH = 4_096
QUERY = "query"
DOCUMENT = "document"

HexModel = Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]


class InferenceRequest(Message, frozen=True, kw_only=True):
    """Texts for a model. `side` tells a retriever whether they are queries or documents; a classifier ignores it."""

    id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    model: HexModel
    inputs: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=MAX_INPUT_CHARS)]], Meta(min_length=1, max_length=MAX_INPUTS)
    ]
    side: Annotated[str, Meta(pattern="^(query|document)\\Z")] = QUERY
    voucher: Voucher | None = None


class Receipt(Message, frozen=True, kw_only=True):
    """What was asked, answered and paid, signed by the wallet that published the model."""

    model: HexModel
    payer: Annotated[str, Meta(max_length=42)]
    lane: Annotated[int, Meta(ge=0)]
    cumulative_wei: Wei
    request: Hash
    response: Hash
    units: Annotated[int, Meta(ge=1, le=MAX_INPUTS)]
    at: Annotated[int, Meta(ge=0, le=1 << 53)]
    peer: Annotated[str, Meta(max_length=64)]
    signature: Annotated[bytes, Meta(max_length=64)] = b""


class Terms(Message, frozen=True, kw_only=True):
    """What the provider wants: a voucher to `payee` on `lane` of at least `cumulative_wei` in all.

    `served_wei` is what he has already served this payer for. `held` is the newest voucher he holds, shown to its
    signer when that one sends an older sum: his journal is lost.
    """

    payee: Annotated[str, Meta(max_length=42)]
    lane: Annotated[int, Meta(ge=0)]
    price_wei: Wei
    served_wei: Wei
    cumulative_wei: Wei
    held: Voucher | None = None


class Refusal(Message, frozen=True, kw_only=True):
    """Why not: `kind` for programs, `message` for people; `terms` when money is what is missing."""

    kind: Annotated[str, Meta(max_length=32)]
    message: Annotated[str, Meta(max_length=400)]
    terms: Terms | None = None


class InferenceReply(Message, frozen=True, kw_only=True):
    """`outputs` is float32, little-endian, row by row, `width` numbers an input: vectors, or one probability a
    class.
    """

    outputs: Annotated[bytes, Meta(max_length=MAX_INPUTS * MAX_WIDTH * 4)] = b""
    width: Annotated[int, Meta(ge=0, le=MAX_WIDTH)] = 0
    receipt: Receipt | None = None
    refusal: Refusal | None = None


def request_hash(request: InferenceRequest) -> bytes:
    """32 bytes over what is asked, without the payment."""
    return hashlib.sha256(encode([request.id, request.model, request.inputs, request.side])).digest()


def response_hash(outputs: bytes, width: int) -> bytes:
    """32 bytes over what is answered."""
    return hashlib.sha256(encode([width, outputs])).digest()


def receipt_digest(receipt: Receipt, chain_id: int) -> bytes:
    """The 32 bytes a provider's wallet signs: the receipt without its signature, bound to chain and peer."""
    body = encode([getattr(receipt, name) for name in Receipt.__struct_fields__ if name != "signature"])
    return item_digest(chain_id, RECEIPT_KIND, hashlib.sha256(body).digest(), receipt.peer)
