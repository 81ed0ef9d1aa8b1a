"""The seller: opens sampled cells, hands keys over for locked sales, and gets his money when a buyer stays silent.

Carries out what the seller's machine (`protocols/exchange/machine.py`) asks for, one deal a sale. A key leaves only
after the state that says so is in the journal, and only masked for the one-time key that the buyer locked his money
under.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import structlog
import trio

from contracts.bindings.sale import SaleState
from contracts.chain import Chain
from contracts.errors import ChainError
from contracts.logs import Change
from node.exchange.runner import Runner, attempt
from node.exchange.watch import ChainWatch
from node.journal.deals import Deal, Deals
from node.journal.publications import Publication, Publications
from node.wallet.transact import Transactor
from protocols.codec import encode
from protocols.exchange import events as ev
from protocols.exchange import machine
from protocols.exchange.events import Call
from protocols.exchange.handover import MaskedKey, handover_secret, mask_key
from protocols.exchange.messages import (
    MAX_REQUEST_BYTES,
    PROTOCOL,
    KeyRequest,
    Opening,
    Openings,
    Refusal,
    read_request,
)
from protocols.exchange.sampling import sample_block, sample_count, sample_indices
from protocols.exchange.selling import Caution, SellerState
from protocols.ids import PeerId
from protocols.sealed import cell_key

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

CONCURRENT = 8


class Wire(Protocol):
    """The network as a seller uses it."""

    def serve(self, protocol: str, handler: Any, *, max_request_bytes: int, concurrency: int) -> None: ...


class Sales:
    """All sales of this node; run `serve` in the node's nursery."""

    def __init__(
        self,
        *,
        chain: Chain,
        transactor: Transactor,
        wire: Wire,
        publications: Publications,
        store: Deals,
        watch: ChainWatch,
        secret: bytes,
        caution: Caution,
        events: Any,
        clock: Callable[[], int],
    ) -> None:
        self._chain = chain
        self._transactor = transactor
        self._wire = wire
        self._publications = publications
        self._store = store
        self._watch = watch
        self._secret = secret
        self._caution = caution
        self._events = events
        self._clock = clock
        self._runners: dict[str, Runner[SellerState]] = {}
        self._nursery: trio.Nursery | None = None
        watch.listen(self._on_change, self._on_block)

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Go on with unfinished sales and answer buyers until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for row in await self._store.unfinished("seller"):
                self._run(machine.restore(row.machine, SellerState), row.created_at).resume()
                log.info("sale resumes", sale=row.sale, state=row.state)
            self._wire.serve(PROTOCOL, self._answer, max_request_bytes=MAX_REQUEST_BYTES, concurrency=CONCURRENT)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def resume(self) -> None:
        """Begin again what every open sale waits for: after an unlock, calls need not rest any longer."""
        for runner in list(self._runners.values()):
            runner.resume()

    # --- answers to buyers ---

    async def _answer(self, peer: PeerId, body: bytes) -> bytes:
        request = read_request(body)
        row = await self._publications.by_offer(request.offer)
        if row is not None and isinstance(request, KeyRequest):
            return encode(await self._hand_over(request))
        if row is None or row.content_key is None:
            return encode(Refusal(kind="unknown_offer", message="no such offer here"))
        return encode(await self._open(row, row.content_key))

    async def _open(self, row: Publication, content_key: bytes) -> Openings | Refusal:
        block = sample_block(row.block)
        found = await self._chain.block_hash(block)
        if found is None:
            return Refusal(kind="too_early", message=f"block {block} chooses the cells and is not mined yet")
        dataset = await self._chain.registry.dataset(row.dataset)
        count = sample_count(dataset.cells)
        chosen = sample_indices(bytes.fromhex(found[2:]), dataset.root, dataset.cells, count)
        return Openings(block=block, openings=[Opening(cell=i, key=cell_key(content_key, i)) for i in chosen])

    async def _hand_over(self, request: KeyRequest) -> Any:
        runner = self._runners.get(request.sale) or await self._late(request.sale)
        if runner is None or runner.state.offer != request.offer:
            return Refusal(kind="no_sale", message=f"no sale {request.sale} of this offer is locked")
        key = await self._masked(runner.state)
        if key is None:  # before the machine writes that it is handed over
            await runner.feed(ev.KeyLost())
            return Refusal(kind="key_lost", message="the content key was erased; the price will be given back")
        answer = (await runner.feed(ev.KeyAsked()))[0]
        if isinstance(answer, ev.Deny):
            return Refusal(kind=answer.kind, message=answer.reason)
        log.info("key handed over", sale=request.sale)
        return key.message()

    async def _late(self, sale: str) -> Runner[SellerState] | None:
        """A sale whose lock this node has not read yet, or one that is over."""
        try:
            await self._watch.poll()
        except ChainError as err:
            log.warning("the chain endpoint does not answer a buyer's question", reason=str(err))
        if sale in self._runners:
            return self._runners[sale]
        row = await self._store.by_sale("seller", sale)
        return None if row is None else self._run(machine.restore(row.machine, SellerState), row.created_at)

    async def _masked(self, state: SellerState) -> MaskedKey | None:
        row = await self._publications.by_offer(state.offer)
        if row is None or row.content_key is None:
            return None
        e = handover_secret(self._secret, int(state.sale), state.buyer_public)
        return mask_key(row.content_key, state.buyer_public, int(state.sale), e)

    def _spawn(self, work: Callable[..., Awaitable[None]], *told: Any) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(work, *told)

    # --- the machine's surroundings ---

    def _run(self, state: SellerState, created_at: int) -> Runner[SellerState]:
        async def save(after: SellerState) -> None:
            await self._save(after, created_at)

        async def perform(action: Any) -> Any:
            return await self._perform(runner.state, action)

        runner = Runner(state, save=save, perform=perform, clock=lambda: self._watch.clock, spawn=self._spawn)
        if not runner.over:
            self._runners[state.sale] = runner
        return runner

    async def _save(self, state: SellerState, created_at: int) -> None:
        over = machine.ended(state)
        row = Deal(
            deal=f"sale-{state.sale}",
            role="seller",
            offer=state.offer,
            sale=state.sale,
            state=state.phase,
            over=int(over),
            reason=state.reason,
            machine=machine.store(state),
            created_at=created_at,
            updated_at=self._clock(),
        )
        await self._store.save(row)
        self._events.publish("deals", {"deal": row.deal, "role": "seller", "state": state.phase, "reason": row.reason})
        if over:
            self._runners.pop(state.sale, None)

    async def _on_change(self, change: Change) -> None:
        name, args = change.log.name, change.log.args
        if name == "Locked":
            await self._on_lock(change)
        elif change.removed:
            return
        elif name == "Misbehaved":
            for held in [r for r in self._runners.values() if int(r.state.sale) >> 64 == args["offerId"]]:
                await held.feed(ev.Proven())
        elif name in ("Delivered", "Finished") and (runner := self._runners.get(str(args["saleId"]))):
            if name == "Delivered":
                await runner.feed(ev.Delivered(dispute_by=args["disputeBy"]))
            else:
                await runner.feed(ev.Finished("paid" if args["state"] == SaleState.PAID else "refunded"))

    async def _on_lock(self, change: Change) -> None:
        args = change.log.args
        sale, point = str(args["saleId"]), (args["bx"], args["by"])
        runner = self._runners.get(sale)
        if change.removed:
            if runner is not None:
                await runner.feed(ev.Undone())
            return
        if runner is None or runner.state.buyer_public != point:
            runner = await self._begin(sale, point, change)
        if runner is not None:
            await runner.feed(ev.LockSeen(block=change.log.block))

    async def _begin(self, sale: str, point: tuple[bytes, bytes], change: Change) -> Runner[SellerState] | None:
        row = await self._publications.by_number(change.log.args["offerId"])
        known = await self._store.by_sale("seller", sale)
        if row is None or (known is not None and known.over):
            return None
        state = SellerState(
            sale=sale,
            offer=row.offer,
            buyer_public=point,
            block=change.log.block,
            deliver_by=change.log.args["deliverBy"],
            caution=self._caution,
        )
        log.info("an own offer was locked", sale=sale, offer=row.offer)
        await self._save(state, self._clock())
        return self._run(state, self._clock())

    async def _on_block(self, clock: ev.Clock) -> None:
        for runner in list(self._runners.values()):
            await runner.feed(ev.Tick())

    # --- the machine's actions ---

    async def _perform(self, state: SellerState, action: Any) -> Any:
        sale = self._chain.sale
        match action:
            case ev.Deliver():
                key = await self._masked(state)
                if key is None:
                    return ev.KeyLost()
                call = sale.deliver(int(action.sale), key.ex, key.parity, key.masked)
                return await attempt(Call.DELIVER, lambda: self._transactor.once(action.key, call))
            case ev.Claim():
                return await attempt(
                    Call.CLAIM, lambda: self._transactor.once(action.key, sale.claim(int(action.sale)))
                )
            case ev.Refund():
                return await attempt(
                    Call.REFUND, lambda: self._transactor.once(action.key, sale.refund(int(action.sale)))
                )
            case _:  # HandOver and Deny are answered where the question came; Wait ends with a block
                return None
