"""The consumer's side of `/schwung/inference/1`: choose the provider from the catalogue, pay, check the receipt.

One request at a time with a model, and at most one request's price ahead: the next voucher is signed only when the
last answer came, or what was promised for it is used as credit. So a provider who takes and does not serve gets one
request's price, however often he is asked. Who says that he served what was paid for has to show it: that request is
sent to him again, and nothing more is paid until it is answered. Only what a crash of ours cut off is believed, at
most MAX_LOSSES times in a row. Nothing is paid for a repeated attempt: the request keeps its id and its voucher.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NoReturn

import msgspec
import numpy as np
import structlog
import trio

from node.journal.model_calls import Call, ModelCalls, Tab
from node.market.catalog.catalog import Listed
from node.models.directory import Directory
from node.models.errors import BadCall, NoProvider, PaymentRequired, WrongReceipt
from node.models.ports import Bank, Events, Purse, Wallet, Wire
from node.models.serving import Serving
from node.models.unanswered import Unanswered
from node.network.errors import DeadlineExceeded, NetworkError, PeerBusy, PeerUnreachable, PeerVanished
from node.wallet.errors import VoucherError
from protocols import eip712
from protocols.codec import decode, encode
from protocols.errors import ProtocolError
from protocols.ids import Address
from protocols.inference.card import ModelCard, lane
from protocols.inference.messages import (
    MAX_INPUT_CHARS,
    MAX_INPUTS,
    MAX_REPLY_BYTES,
    PROTOCOL,
    QUERY,
    InferenceReply,
    InferenceRequest,
    Receipt,
    Refusal,
    Terms,
    receipt_digest,
    request_hash,
    response_hash,
)

log = structlog.get_logger(__name__)

ATTEMPTS = 3  # of one request; all but the first cost nothing
ATTEMPT_TIMEOUT_S = 35.0  # a provider gives itself 30 s to compute; three attempts fit into a call's 120 s
RETRY_AFTER_S = 0.5
MAX_LOSSES = 3
MAX_TEXTS = 2_048  # of one call, as in the OpenAI dialect; sent in requests of MAX_INPUTS


class Answer(msgspec.Struct, frozen=True, eq=False):
    """What a model said: (n, width) float32, what it cost, and the receipts (their ids are the tickets for
    feedback).
    """

    model: str
    task: str
    classes: tuple[str, ...]
    outputs: np.ndarray
    provider: str
    paid_wei: int
    receipts: tuple[str, ...]


class Calling:
    """Calls models that others, or this node itself, serve."""

    def __init__(
        self,
        *,
        directory: Directory,
        calls: ModelCalls,
        own: Serving,
        purse: Purse,
        bank: Bank,
        wallet: Wallet,
        wire: Wire,
        events: Events,
        payee: Address,
        chain_id: int,
        clock: Callable[[], int],
        retry_after_s: float = RETRY_AFTER_S,
    ) -> None:
        self._directory = directory
        self._calls = calls
        self._own = own
        self._purse = purse
        self._bank = bank
        self._wallet = wallet
        self._wire = wire
        self._events = events
        self._payee = payee
        self._chain_id = chain_id
        self._clock = clock
        self._retry_after_s = retry_after_s
        self._lanes: dict[str, trio.Lock] = defaultdict(trio.Lock)
        self._unanswered = Unanswered()

    async def call(self, model: str, inputs: Sequence[str], *, side: str = QUERY) -> Answer:
        """Run texts through a model, paid by voucher.

        Raises BadCall, UnknownModel, NoProvider, PaymentRequired, WrongReceipt, WalletLocked, InsufficientFunds. Texts
        that were answered before an error stay paid for.
        """
        check_inputs(inputs, side)
        listed = await self._directory.find(model)
        if listed.item.peer == self._wire.peer_id:
            return await self._at_home(listed, inputs, side)
        outputs, receipts, paid_wei = [], [], 0
        for start in range(0, len(inputs), MAX_INPUTS):
            async with self._lanes[listed.body.model]:
                rows, call = await self._ask(listed, list(inputs[start : start + MAX_INPUTS]), side)
            outputs.append(rows)
            receipts.append(call.request.hex())
            paid_wei += call.cost_wei
        return _answer(listed, np.vstack(outputs), paid_wei, receipts)

    async def _at_home(self, listed: Listed[ModelCard], inputs: Sequence[str], side: str) -> Answer:
        """An own model: nobody pays himself."""
        row = await self._own.row(listed.body.model)
        parts = []
        for start in range(0, len(inputs), MAX_INPUTS):
            served = await self._own.compute(row, list(inputs[start : start + MAX_INPUTS]), side)
            parts.append(_rows(served.outputs, served.width))
        return _answer(listed, np.vstack(parts), 0, [])

    async def _ask(self, listed: Listed[ModelCard], inputs: list[str], side: str) -> tuple[np.ndarray, Call]:
        card = listed.body
        request = InferenceRequest(id=secrets.token_bytes(16), model=card.model, inputs=inputs, side=side)
        cost_wei = int(card.price_wei) * len(inputs)
        for _ in range(2):  # once more when the provider shows that he served what we thought was lost
            call, paid, credit_wei = await self._pay(listed, request, cost_wei)
            reply = await self._send(listed, paid, call)
            if reply.refusal is None:
                return await self._accept(listed, paid, call, reply), call
            await self._settle_dispute(listed, paid, call, reply.refusal, credit_wei)
            request = msgspec.structs.replace(request, id=secrets.token_bytes(16))
        raise PaymentRequired("the provider wants more than his card says", hint="choose another model")

    async def _pay(
        self, listed: Listed[ModelCard], request: InferenceRequest, cost_wei: int
    ) -> tuple[Call, InferenceRequest, int]:
        """Sign what is due and note the call, before anything leaves; what was promised before and not answered."""
        tab = await self._tab(request.model)
        if tab.losses >= MAX_LOSSES:
            raise NoProvider(f"the provider took {tab.losses} payments in a row without an answer")
        credit_wei = await self._purse.promised(self._payee, lane(request.model)) - tab.spent_wei
        if tab.is_younger:  # what the last journal knew of is not known here
            credit_wei = max(credit_wei, cost_wei)
        voucher = await self._purse.promise(self._payee, lane(request.model), tab.spent_wei + cost_wei)
        call = Call(
            request=request.id,
            model=request.model,
            provider=listed.item.peer,
            units=len(request.inputs),
            cost_wei=cost_wei,
            cumulative_wei=voucher.cumulative,
            state="sent",
            receipt=None,
            at=self._clock(),
        )
        await self._calls.send(call)
        return call, msgspec.structs.replace(request, voucher=voucher), credit_wei

    async def _tab(self, model: str) -> Tab:
        tab = await self._calls.tab(model)
        if tab is not None:
            return tab
        return await self._calls.begin(model, await self._bank.paid(self._wallet.address, self._payee, lane(model)))

    async def _send(self, listed: Listed[ModelCard], request: InferenceRequest, call: Call) -> InferenceReply:
        """The request until it is answered; repeated attempts are free. Raises NoProvider."""
        trouble: Exception | None = None
        perhaps_served = False
        for attempt in range(ATTEMPTS):
            if attempt:
                await trio.sleep(self._retry_after_s * attempt)
            try:
                raw = await self._wire.request(
                    listed.item.peer,
                    PROTOCOL,
                    encode(request),
                    timeout_s=ATTEMPT_TIMEOUT_S,
                    max_reply_bytes=MAX_REPLY_BYTES,
                )
                reply = decode(raw, InferenceReply, max_bytes=MAX_REPLY_BYTES)
            except (PeerUnreachable, PeerBusy, DeadlineExceeded) as err:
                trouble = err
                perhaps_served |= isinstance(err, PeerVanished | DeadlineExceeded)
                continue
            except (NetworkError, ProtocolError) as err:
                trouble, perhaps_served = err, True
                break
            if reply.refusal is None or reply.refusal.kind != "unavailable":
                return reply
            trouble, perhaps_served = NoProvider(reply.refusal.message), True
        await self._failed(request, call, perhaps_served=perhaps_served)
        raise NoProvider(f"model {request.model[:12]}… was not answered by {listed.item.peer}: {trouble}") from trouble

    async def _accept(
        self, listed: Listed[ModelCard], request: InferenceRequest, call: Call, reply: InferenceReply
    ) -> np.ndarray:
        try:
            rows = check_reply(listed, request, reply, payer=self._wallet.address, chain_id=self._chain_id)
        except WrongReceipt:
            await self._failed(request, call, perhaps_served=True)
            raise
        await self._calls.answered(call, encode(reply.receipt))
        self._unanswered.clear(call.model)
        what = {"model": call.model, "state": "called", "domain": listed.body.domain, "units": call.units}
        self._events.publish("models", what)
        return rows

    async def _failed(self, request: InferenceRequest, call: Call, *, perhaps_served: bool) -> None:
        """What was promised for it stays credit."""
        await self._calls.failed(call)
        self._unanswered.keep(request, call, perhaps_served=perhaps_served)

    async def _settle_dispute(
        self, listed: Listed[ModelCard], request: InferenceRequest, call: Call, refusal: Refusal, credit_wei: int
    ) -> None:
        """The provider says no. Go on only if he has served what was promised before this call; else raise."""
        tab, terms = await self._tab(call.model), refusal.terms
        if refusal.kind == "voucher_refused" and terms is not None and await self._caught_up(tab, call, terms):
            return
        served_wei = int(terms.served_wei) if terms is not None and refusal.kind == "payment_required" else 0
        open_before = self._unanswered.of(call.model)
        if not 0 < served_wei - tab.spent_wei <= credit_wei:
            await self._failed(request, call, perhaps_served=False)
            _refuse(refusal)
        elif open_before:
            await self._calls.failed(call)
            await self._have_shown(listed, request, open_before)
        else:  # a crash of ours cut it off
            await self._calls.failed(call, lost_wei=served_wei - tab.spent_wei)

    async def _caught_up(self, tab: Tab, call: Call, terms: Terms) -> bool:
        """Whether our journal is younger than the lane: the chain has paid more than it ever promised, or he shows a
        voucher of ours beyond that. Then we go on from what was paid, or from what he served for it.
        """
        spent_wei = promised_wei = await self._bank.paid(self._wallet.address, self._payee, lane(call.model))
        if terms.held is not None:
            try:
                promised_wei = await self._purse.adopt(terms.held, int(terms.served_wei))
            except (VoucherError, ProtocolError):
                return False
            spent_wei = max(spent_wei, min(int(terms.served_wei), promised_wei))
        if promised_wei <= call.cumulative_wei:  # what was paid or shown is of this journal: nothing to catch up with
            return False
        await self._calls.failed(call, lost_wei=max(0, spent_wei - tab.spent_wei))
        return True

    async def _have_shown(
        self, listed: Listed[ModelCard], request: InferenceRequest, open_before: Sequence[tuple[InferenceRequest, Call]]
    ) -> None:
        """The answer that was paid for, late; a provider keeps it for an hour. Raises NoProvider, WrongReceipt."""
        for unanswered, call in reversed(open_before):
            again = msgspec.structs.replace(unanswered, voucher=request.voucher)
            reply = await self._send(listed, again, call)
            if reply.refusal is None:
                await self._accept(listed, again, call, reply)
                return
        raise NoProvider("the provider says that he served what he does not show: nothing more is paid to him")


def _refuse(refusal: Refusal) -> NoReturn:
    if refusal.terms is not None:
        raise PaymentRequired(
            f"the provider refused the voucher ({refusal.kind}): {refusal.message}", hint=_hint(refusal.terms)
        )
    raise NoProvider(f"the provider refused ({refusal.kind}): {refusal.message}")


def check_inputs(inputs: Sequence[str], side: str) -> None:
    """Raises BadCall with the bound that is broken."""
    if side not in ("query", "document"):
        raise BadCall(f"side {side[:40]!r}: query or document")
    if not 0 < len(inputs) <= MAX_TEXTS:
        raise BadCall(f"{len(inputs)} inputs: between 1 and {MAX_TEXTS}")
    for number, text in enumerate(inputs):
        if not text.strip():
            raise BadCall(f"input {number} is empty")
        if len(text) > MAX_INPUT_CHARS:
            raise BadCall(f"input {number} has {len(text)} characters, the limit is {MAX_INPUT_CHARS}")


def check_reply(
    listed: Listed[ModelCard], request: InferenceRequest, reply: InferenceReply, *, payer: Address, chain_id: int
) -> np.ndarray:
    """The outputs of a reply whose receipt says exactly what was asked, answered and paid. Raises WrongReceipt."""
    receipt, rows = reply.receipt, len(request.inputs)
    width = len(listed.body.classes) or listed.body.dim
    if reply.width != width or len(reply.outputs) != rows * width * 4:
        raise WrongReceipt(f"{rows} × {width} numbers were due, {len(reply.outputs)} bytes came")
    assert request.voucher is not None
    expected = Receipt(
        model=request.model,
        payer=payer,
        lane=lane(request.model),
        cumulative_wei=request.voucher.cumulative_wei,
        request=request_hash(request),
        response=response_hash(reply.outputs, reply.width),
        units=rows,
        at=receipt.at if receipt else 0,
        peer=listed.item.peer,
        signature=receipt.signature if receipt else b"",
    )
    if receipt != expected:
        raise WrongReceipt("the provider's receipt does not say what was asked, answered and paid")
    try:
        signer = eip712.recover(receipt_digest(receipt, chain_id), receipt.signature)
    except ProtocolError as err:
        raise WrongReceipt("the provider's receipt is not signed") from err
    if signer != listed.item.signer:
        raise WrongReceipt(f"the receipt is signed by {signer}, the model's card by {listed.item.signer}")
    found = _rows(reply.outputs, width)
    if not np.isfinite(found).all():
        raise WrongReceipt("the provider answered numbers that are none")
    return found


def _rows(outputs: bytes, width: int) -> np.ndarray:
    return np.frombuffer(outputs, dtype="<f4").reshape(-1, width)


def _answer(listed: Listed[ModelCard], outputs: np.ndarray, paid_wei: int, receipts: list[str]) -> Answer:
    card = listed.body
    return Answer(card.model, card.task, tuple(card.classes), outputs, listed.item.peer, paid_wei, tuple(receipts))


def _hint(terms: Terms) -> str:
    return f"he wants vouchers of {terms.price_wei} wei an input to {terms.payee}; deposit more: schwung wallet deposit"
