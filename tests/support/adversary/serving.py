"""Providers who take the voucher and do not serve."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec
import trio

from node.models.serving import Serving
from node.network.errors import NetworkError
from protocols.codec import decode, encode
from protocols.ids import PeerId
from protocols.inference.card import lane
from protocols.inference.messages import MAX_REPLY_BYTES, MAX_REQUEST_BYTES, InferenceReply, InferenceRequest, Refusal

Replace = Callable[[object, str, Any], None]
Answer = Callable[[Serving, InferenceRequest], Any]


def taking(answer: Answer) -> Callable[[Replace, str], None]:
    """Takes the voucher, as an honest provider does, and then answers something else."""

    def behaviour(replace: Replace, _: str) -> None:
        async def _answer(self: Serving, peer: PeerId, body: bytes) -> bytes:
            request = decode(body, InferenceRequest, max_bytes=MAX_REQUEST_BYTES)
            assert request.voucher is not None
            await self._till.accept(request.voucher, payee=self._payee, lane=lane(request.model))
            said: bytes = await answer(self, request)
            return said

        replace(Serving, "_answer", _answer)

    return behaviour


async def _nothing(self: Serving, request: InferenceRequest) -> bytes:
    raise NetworkError("hangs up")


async def _silence(self: Serving, request: InferenceRequest) -> bytes:
    await trio.sleep_forever()
    raise AssertionError


async def _noise(self: Serving, request: InferenceRequest) -> bytes:
    return os.urandom(200)


async def _random_numbers(self: Serving, request: InferenceRequest) -> bytes:
    """Numbers of the right shape, and the receipt of an honest answer."""
    reply = await self._reply(request)
    return encode(msgspec.structs.replace(reply, outputs=bytes(len(reply.outputs))))


async def _no_receipt(self: Serving, request: InferenceRequest) -> bytes:
    return encode(msgspec.structs.replace(await self._reply(request), receipt=None))


async def _served_before(self: Serving, request: InferenceRequest) -> bytes:
    """Says that what was paid for has been served already."""
    row = await self._store.get(request.model)
    assert row is not None
    assert request.voucher is not None
    terms = self._terms(row, request, _Served(request.voucher.cumulative))
    return encode(InferenceReply(refusal=Refusal(kind="payment_required", message="pay for this one", terms=terms)))


async def _served_for_this(self: Serving, request: InferenceRequest) -> bytes:
    """Says so, and shows the voucher he was just given as if the payer had forgotten it."""
    reply = decode(await _served_before(self, request), InferenceReply, max_bytes=MAX_REPLY_BYTES)
    assert reply.refusal is not None
    assert reply.refusal.terms is not None
    terms = msgspec.structs.replace(reply.refusal.terms, held=request.voucher)
    return encode(msgspec.structs.replace(reply, refusal=msgspec.structs.replace(reply.refusal, terms=terms)))


class _Served:
    def __init__(self, served_wei: int) -> None:
        self.served_wei = served_wei


BEHAVIOURS: dict[str, Callable[[Replace, str], None]] = {
    "takes-and-hangs-up": taking(_nothing),
    "takes-and-is-silent": taking(_silence),
    "takes-and-answers-noise": taking(_noise),
    "takes-and-answers-zeros": taking(_random_numbers),
    "takes-and-gives-no-receipt": taking(_no_receipt),
    "takes-and-wants-more": taking(_served_before),
    "takes-and-shows-the-voucher": taking(_served_for_this),
}
