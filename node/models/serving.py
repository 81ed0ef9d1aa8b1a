"""The provider's side of `/schwung/inference/1`: money first, then the work, then a signed receipt.

    known model? ─ voucher accepted by the till (checked, covered, journalled) ─ request charged in the journal ─
    computed ─ receipt

The order is what keeps both sides whole: whoever crashes in between finds the charge under the request's id, and the
repeated request is answered without being charged again. Every refusal is typed; the one for money carries the terms.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import structlog
import trio

from node.embed.embedder import Embedder
from node.journal.model_accounts import Account, ModelAccounts, Outcome, Request
from node.journal.models import ModelRow
from node.journal.models import Models as ModelStore
from node.models.artifacts import Artifacts
from node.models.errors import BadArtifact, UnknownModel
from node.models.ports import Events, Registry, Till, Wallet, Wire
from node.models.runtime import Runtime
from node.wallet.errors import Outdated, VoucherError, WalletError
from protocols.codec import decode, encode
from protocols.errors import ProtocolError
from protocols.ids import Address, PeerId, parse_address
from protocols.inference.card import lane
from protocols.inference.messages import (
    MAX_REQUEST_BYTES,
    PROTOCOL,
    InferenceReply,
    InferenceRequest,
    Receipt,
    Refusal,
    Terms,
    receipt_digest,
    request_hash,
    response_hash,
)
from protocols.voucher import Voucher

log = structlog.get_logger(__name__)

CONCURRENCY = 8  # requests in the house at once; the embedder's threads are the real bound
COMPUTE_TIMEOUT_S = 30.0  # 32 texts of 512 tokens take about 4 s on two cores
LOADED_MOST = 16  # graphs kept in memory, 600 kB each as a rule


class Served(msgspec.Struct, frozen=True):
    """Outputs of a model as bytes: float32, little-endian, `width` numbers an input."""

    outputs: bytes
    width: int


class Serving:
    """Answers for the models this node has published."""

    def __init__(
        self,
        *,
        store: ModelStore,
        accounts: ModelAccounts,
        artifacts: Artifacts,
        embedder: Embedder,
        registry: Registry,
        till: Till,
        wallet: Wallet,
        wire: Wire,
        events: Events,
        chain_id: int,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._artifacts = artifacts
        self._embedder = embedder
        self._payee = Address(registry.address)
        self._till = till
        self._wallet = wallet
        self._wire = wire
        self._events = events
        self._chain_id = chain_id
        self._clock = clock
        self._loaded: dict[str, Runtime] = {}
        self._loading = trio.Lock()

    def serve(self) -> None:
        """Answer peers from now on."""
        self._wire.serve(PROTOCOL, self._answer, max_request_bytes=MAX_REQUEST_BYTES, concurrency=CONCURRENCY)

    async def row(self, model: str) -> ModelRow:
        """An own published model. Raises UnknownModel."""
        row = await self._store.get(model)
        if row is None or row.state != "published":
            raise UnknownModel(f"model {model[:80]} is not served by this node")
        return row

    async def compute(self, row: ModelRow, inputs: list[str], side: str) -> Served:
        """Run an own model, unpaid. Raises BadArtifact, trio.TooSlowError."""
        with trio.fail_after(COMPUTE_TIMEOUT_S):
            runtime = await self._runtime(row)
            vectors = await self._embedder.embed(inputs, query=side == "query")
            found = await runtime.apply(vectors, side)
        return Served(np.ascontiguousarray(found, dtype="<f4").tobytes(), int(found.shape[1]))

    async def _answer(self, peer: PeerId, body: bytes) -> bytes:
        request = decode(body, InferenceRequest, max_bytes=MAX_REQUEST_BYTES)
        try:
            return encode(await self._reply(request))
        except (BadArtifact, trio.TooSlowError) as err:
            log.warning("model could not answer", model=request.model, reason=str(err))
            return _refuse("unavailable", "the model cannot answer now; the same request may be sent again for nothing")

    async def _reply(self, request: InferenceRequest) -> InferenceReply:
        row = await self._store.get(request.model)
        if row is None or row.state != "published":
            return _no("unknown_model", "this node does not serve that model")
        if self._wallet.locked:
            return _no("wallet_locked", "the provider cannot sign receipts now; nothing was charged")
        if request.voucher is None:
            return _no("payment_required", "send a voucher", self._terms(row, request, Account()))
        return await self._paid(row, request)

    async def _paid(self, row: ModelRow, request: InferenceRequest) -> InferenceReply:
        assert request.voucher is not None
        try:
            payer = parse_address(request.voucher.payer)
            paid_wei = await self._till.accept(request.voucher, payee=self._payee, lane=lane(row.model))
        except (VoucherError, ProtocolError) as err:
            account = await self._accounts.of(row.model, request.voucher.payer)
            terms = self._terms(row, request, account)
            if isinstance(err, Outdated):
                terms = msgspec.structs.replace(terms, held=err.held)
            return _no(err.kind, str(err), terms)
        except WalletError as err:  # the chain or our own wallet, not the payer's fault
            return _no("unavailable", str(err))
        charge = _charge(row, payer, request)
        outcome, account = await self._accounts.charge(charge, paid_wei=paid_wei, now=self._clock())
        if outcome not in ("charged", "repeat"):
            return _no(*_REASONS[outcome], self._terms(row, request, account))
        served = await self.compute(row, request.inputs, request.side)
        receipt = self._receipt(request, request.voucher, served)
        if outcome == "charged":
            self._events.publish("inference", {"model": row.model, "units": charge.units, "wei": str(charge.cost_wei)})
        return InferenceReply(outputs=served.outputs, width=served.width, receipt=receipt)

    def _receipt(self, request: InferenceRequest, voucher: Voucher, served: Served) -> Receipt:
        draft = Receipt(
            model=request.model,
            payer=parse_address(voucher.payer),
            lane=lane(request.model),
            cumulative_wei=voucher.cumulative_wei,
            request=request_hash(request),
            response=response_hash(served.outputs, served.width),
            units=len(request.inputs),
            at=self._clock(),
            peer=self._wire.peer_id,
        )
        signature = self._wallet.sign(receipt_digest(draft, self._chain_id))
        return msgspec.structs.replace(draft, signature=signature)

    def _terms(self, row: ModelRow, request: InferenceRequest, account: Account) -> Terms:
        cost = int(row.price_wei) * len(request.inputs)
        return Terms(
            payee=self._payee,
            lane=lane(row.model),
            price_wei=row.price_wei,
            served_wei=str(account.served_wei),
            cumulative_wei=str(account.served_wei + cost),
        )

    async def _runtime(self, row: ModelRow) -> Runtime:
        async with self._loading:
            if row.model not in self._loaded:
                if len(self._loaded) >= LOADED_MOST:
                    self._loaded.pop(next(iter(self._loaded)))
                load = self._artifacts.runtime
                self._loaded[row.model] = await trio.to_thread.run_sync(load, row.model, row.artifact)
            return self._loaded[row.model]


_REASONS: dict[Outcome, tuple[str, str]] = {
    "unpaid": ("payment_required", "the voucher does not cover this request"),
    "conflict": ("conflict", "this request id was used for another content"),
    "worn_out": ("conflict", "this request was repeated too often; send a new one"),
}


def _charge(row: ModelRow, payer: Address, request: InferenceRequest) -> Request:
    return Request(
        model=row.model,
        payer=payer,
        id=request.id,
        content=request_hash(request),
        cost_wei=int(row.price_wei) * len(request.inputs),
        units=len(request.inputs),
    )


def _no(kind: str, message: str, terms: Terms | None = None) -> InferenceReply:
    return InferenceReply(refusal=Refusal(kind=kind, message=message[:400], terms=terms))


def _refuse(kind: str, message: str) -> bytes:
    return encode(_no(kind, message))
