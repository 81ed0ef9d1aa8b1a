"""The seller: opens sampled cells, hands keys over for locked sales, and gets his money when a buyer stays silent.

Carries out what the seller's machine (`protocols/exchange/machine.py`) asks for, one deal a sale. A key leaves only
after the state that says so is in the journal, and only masked for the one-time key that the buyer locked his money
under.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import structlog
import trio

from contracts.bindings.sale import SaleState
from contracts.chain import Chain
from contracts.errors import ChainError
from contracts.logs import Change
from node.exchange.batches import Batches
from node.exchange.runner import Runner, attempt
from node.exchange.watch import ChainWatch
from node.journal.confirmations import Confirmation
from node.journal.deals import Deal, Deals
from node.journal.publications import Publication, Publications
from node.wallet.transact import Transactor
from protocols.codec import encode
from protocols.exchange import events as ev
from protocols.exchange import machine
from protocols.exchange.confirmation import is_confirmed_by, sale_domain
from protocols.exchange.events import Call
from protocols.exchange.handover import MaskedKey, handover_secret, mask_key
from protocols.exchange.messages import (
    MAX_REQUEST_BYTES,
    NOT_YET,
    PROTOCOL,
    TOO_EARLY,
    Confirmed,
    ConfirmRequest,
    KeyRequest,
    Opening,
    Openings,
    Refusal,
    read_request,
)
from protocols.exchange.sampling import sample_block, sample_count, sample_indices
from protocols.exchange.selling import Caution, Seller, SellerState
from protocols.ids import Address, PeerId
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
        batches: Batches,
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
        self._batches = batches
        self._secret = secret
        self._caution = caution
        self._events = events
        self._clock = clock
        self._domain = sale_domain(chain.chain_id, Address(chain.sale.address))
        self._runners: dict[str, Runner[SellerState]] = {}
        self._waking = trio.Lock()
        self._nursery: trio.Nursery | None = None
        watch.listen(self._on_change, self._on_block)

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Go on with unfinished sales and answer buyers until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._batches.serve)
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
        if isinstance(request, KeyRequest):
            return encode(await self._hand_over(request))
        if isinstance(request, ConfirmRequest):
            return encode(await self._take_consent(request))
        row = await self._publications.by_offer(request.offer)
        if row is None and await self._publications.any_under_way():  # told just before a crash, and not noted yet
            return encode(Refusal(kind=NOT_YET, message="an offer is being published here: ask again in a moment"))
        if row is None or row.content_key is None:
            return encode(Refusal(kind="unknown_offer", message="no such offer here"))
        return encode(await self._open(row, row.content_key))

    async def _open(self, row: Publication, content_key: bytes) -> Openings | Refusal:
        block = sample_block(row.block)
        found = await self._chain.block_hash(block)
        if found is None:
            return Refusal(kind=TOO_EARLY, message=f"block {block} chooses the cells and is not mined yet")
        dataset = await self._chain.registry.dataset(row.dataset)
        count = sample_count(dataset.cells)
        chosen = sample_indices(bytes.fromhex(found[2:]), dataset.root, dataset.cells, count)
        return Openings(block=block, openings=[Opening(cell=i, key=cell_key(content_key, i)) for i in chosen])

    async def _hand_over(self, request: KeyRequest) -> Any:
        async with self._asked(request) as runner:
            if runner is None:
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

    async def _take_consent(self, request: ConfirmRequest) -> Confirmed | Refusal:
        """A confirmation is taken when it stands in the journal."""
        async with self._asked(request) as runner:
            if runner is None:
                return Refusal(kind="no_sale", message=f"no sale {request.sale} of this offer is locked")
            if not is_confirmed_by(runner.state.buyer, self._domain, int(request.sale), request.signature):
                return Refusal(kind="bad_signature", message="that is not signed by the buyer of this sale")
            await runner.feed(ev.Signed(request.signature))
            state = runner.state
        if state.consent or state.phase is Seller.PAID:
            return Confirmed()
        return Refusal(kind="not_now", message=f"this sale is {state.phase}")

    @asynccontextmanager
    async def _asked(self, request: KeyRequest | ConfirmRequest) -> AsyncIterator[Runner[SellerState] | None]:
        """The sale that a buyer speaks of, if it is one of this offer; its lock may not have been read yet."""
        if request.sale not in self._runners:
            try:
                await self._watch.poll()
            except ChainError as err:
                log.warning("the chain endpoint does not answer a buyer's question", reason=str(err))
        async with self._at(request.sale) as runner:
            yield runner if runner is not None and runner.state.offer == request.offer else None

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
            await self._save(runner, after, created_at)

        async def perform(action: Any) -> Any:
            return await self._perform(runner.state, action)

        runner = Runner(state, save=save, perform=perform, clock=lambda: self._watch.clock, spawn=self._spawn)
        if not runner.over:
            self._runners[state.sale] = runner
        return runner

    @asynccontextmanager
    async def _at(self, sale: str) -> AsyncIterator[Runner[SellerState] | None]:
        """A sale to feed; one that is over is woken for it, by one at a time."""
        if sale in self._runners:
            yield self._runners[sale]
            return
        async with self._waking:
            row = None if sale in self._runners else await self._store.by_sale("seller", sale)
            woken = self._run(machine.restore(row.machine, SellerState), row.created_at) if row else None
            yield self._runners.get(sale, woken)

    async def _save(self, runner: Runner[SellerState], state: SellerState, created_at: int) -> None:
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
        else:
            self._runners[state.sale] = runner

    # --- what the chain says ---

    async def _on_change(self, change: Change) -> None:
        name, args = change.log.name, change.log.args
        if name == "Locked":
            await self._on_lock(args, change.log.block, removed=change.removed)
        elif (news := _news(name, args)) is not None:
            for sale in await self._concerned(args):
                async with self._at(sale) as runner:
                    if runner is not None:
                        await runner.feed(ev.Undone(news) if change.removed else news)

    async def _concerned(self, args: dict[str, Any]) -> list[str]:
        """The sales that an event is about: one, or all of an offer."""
        if "saleId" in args:
            return [str(args["saleId"])]
        if await self._publications.by_number(args["offerId"]) is None:
            return []
        return [row.sale for row in await self._store.about("seller", args["offerId"])]

    async def _on_lock(self, args: dict[str, Any], block: int, *, removed: bool) -> None:
        row = await self._publications.by_number(args["offerId"])
        if row is None:
            return
        sale, point = str(args["saleId"]), (args["bx"], args["by"])
        async with self._at(sale) as known:
            if removed:
                if known is not None and known.state.buyer_public == point:
                    await known.feed(ev.Undone())
                return
            same = known is not None and known.state.buyer_public == point
            runner = known if known is not None and same else await self._begin(sale, point, row, args, block)
            await runner.feed(ev.LockSeen(block=block, deliver_by=args["deliverBy"]))

    async def _begin(
        self, sale: str, point: tuple[bytes, bytes], row: Publication, args: dict[str, Any], block: int
    ) -> Runner[SellerState]:
        """A new sale; after a reorganisation its number may have been another buyer's before."""
        state = SellerState(
            sale=sale,
            offer=row.offer,
            buyer_public=point,
            block=block,
            deliver_by=args["deliverBy"],
            caution=self._caution,
            buyer=args["buyer"],
        )
        log.info("an own offer was locked", sale=sale, offer=row.offer)
        runner = self._run(state, self._clock())
        await self._save(runner, state, self._clock())
        return runner

    async def _on_block(self, clock: ev.Clock) -> None:
        self._batches.stir()
        for runner in list(self._runners.values()):
            await runner.feed(ev.Tick())

    # --- the machine's actions ---

    async def _perform(self, state: SellerState, action: Any) -> Any:
        sale = self._chain.sale
        match action:
            case ev.Bring():
                return await self._batches.bring(Confirmation(action.sale, action.signature), action.by)
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


def _news(name: str, args: dict[str, Any]) -> ev.SellerNews | None:
    """What an event of the contract means to a seller."""
    match name:
        case "Delivered":
            return ev.Delivered(dispute_by=args["disputeBy"])
        case "Finished":
            return ev.Finished("paid" if args["state"] == SaleState.PAID else "refunded")
        case "Misbehaved":
            return ev.Proven()
        case "Reclaimed":
            return ev.Reclaimed()
    return None
