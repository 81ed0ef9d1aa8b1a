"""The buyer: from an offer to records in the shard, or to the money back.

Carries out what the buyer's machine (`protocols/exchange/machine.py`, with its picture) asks for. Every deal is a
row in the journal and survives `kill -9` at any instant: states are written before their actions, transactions go
through the wallet's outbox under names that the machine makes, and the contract's log, not a receipt, moves a deal on.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import trio

from contracts.bindings.sale import SaleState
from contracts.chain import Chain
from contracts.logs import Change
from node.exchange.acting import Acting, Sample
from node.exchange.errors import CannotDispute, NoSuchDeal, OwnOffer
from node.exchange.runner import Runner
from node.exchange.watch import ChainWatch
from node.journal.deals import Deal, Deals
from node.market.catalog import Catalog, Listed
from node.market.errors import NotFound
from node.wallet.errors import InsufficientFunds
from node.wallet.transact import Transactor
from protocols.codec import decode
from protocols.envelope import MAX_BODY_BYTES, open_item
from protocols.exchange import events as ev
from protocols.exchange import machine
from protocols.exchange.handover import MaskedKey, one_time_key, public_point
from protocols.exchange.purchase import Buyer, BuyerState, Terms
from protocols.exchange.sampling import DEFAULT_CAP
from protocols.offers.offer import Offer

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)


class Purchases:
    """All purchases of this node; run `serve` in the node's nursery."""

    def __init__(
        self,
        *,
        chain: Chain,
        transactor: Transactor,
        acting: Acting,
        catalog: Catalog,
        store: Deals,
        watch: ChainWatch,
        events: Any,
        clock: Callable[[], int],
    ) -> None:
        self._chain = chain
        self._transactor = transactor
        self._acting = acting
        self._catalog = catalog
        self._store = store
        self._watch = watch
        self._events = events
        self._clock = clock
        self._runners: dict[str, Runner[BuyerState]] = {}
        self._envelopes: dict[str, bytes] = {}
        self._nursery: trio.Nursery | None = None
        watch.listen(self._on_change, self._on_block)

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Go on with unfinished purchases, then with new ones, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for row in await self._store.unfinished("buyer"):
                saved = msgspec.msgpack.decode(row.machine, type=Saved)
                self._run(row.deal, machine.restore(saved.state, BuyerState), saved.envelope, row.created_at).resume()
                log.info("purchase resumes", deal=row.deal, state=row.state)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def resume(self) -> None:
        """Begin again what every open purchase waits for: after an unlock, calls need not rest any longer."""
        for runner in list(self._runners.values()):
            runner.resume()

    async def buy(self, offer: str, max_price_wei: int) -> str:
        """Begin to buy; returns the deal's id at once. Raises NotFound, OwnOffer, WalletLocked."""
        self._transactor.require_unlocked()
        listed = self._offer(offer)
        if listed.item.signer == self._transactor.address:
            raise OwnOffer("this is your own offer")
        await self._require_funds(int(listed.body.price_wei))
        deal = secrets.token_hex(16)
        terms = Terms(
            deal=deal,
            offer=offer,
            seller=listed.item.signer,
            cid=listed.body.cid,
            root=listed.body.root,
            cells=listed.body.cells,
            size_bytes=listed.body.size_bytes,
            offer_no=listed.body.offer_no,
            offer_block=listed.body.block,
            price_wei=listed.body.price_wei,
            max_price_wei=str(max_price_wei),
            sample_cap=DEFAULT_CAP,
        )
        state = machine.begin(terms, one_time_key(secrets.token_bytes))
        runner = self._run(deal, state, listed.item.raw, self._clock())
        await self._save(deal, state, self._clock())
        runner.resume()
        return deal

    async def sample(self, offer: str, cells: int | None = None) -> Sample:
        """Fetch an offer's payload and judge its sampled openings, without buying.

        `cells` lowers the count looked at.
        """
        return await self._acting.sample(self._offer(offer), cells)

    async def dispute(self, deal: str) -> None:
        """Examine a deal's key again. The machine disputes by itself what can be proven; this says why it cannot."""
        row = await self._store.get(deal)
        if row is None or row.role != "buyer":
            raise NoSuchDeal(f"no purchase {deal} here")
        if row.state in (Buyer.DISPUTING, Buyer.DISPUTED):
            return
        raise CannotDispute(f"the deal is {row.state}: nothing that its seller did wrong can be proven on chain")

    async def _require_funds(self, price_wei: int) -> None:
        have = await self._chain.token.balance(self._transactor.address)
        if have < price_wei:
            raise InsufficientFunds("token", have, price_wei, self._transactor.address)

    def _spawn(self, work: Callable[..., Awaitable[None]], *told: Any) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(work, *told)

    # --- the machine's surroundings ---

    def _run(self, deal: str, state: BuyerState, envelope: bytes, created_at: int) -> Runner[BuyerState]:
        async def save(after: BuyerState) -> None:
            await self._save(deal, after, created_at)

        async def perform(action: Any) -> Any:
            return await self._acting.perform(runner.state, action, self._bought(deal))

        self._envelopes[deal] = envelope
        runner = Runner(state, save=save, perform=perform, clock=lambda: self._watch.clock, spawn=self._spawn)
        self._runners[deal] = runner
        return runner

    async def _save(self, deal: str, state: BuyerState, created_at: int) -> None:
        over = machine.ended(state)
        saved = Saved(state=machine.store(state), envelope=self._envelopes[deal])
        row = Deal(
            deal=deal,
            role="buyer",
            offer=state.terms.offer,
            sale=state.sale,
            state=state.phase,
            over=int(over),
            reason=state.reason,
            machine=msgspec.msgpack.encode(saved),
            created_at=created_at,
            updated_at=self._clock(),
        )
        await self._store.save(row)
        self._events.publish("deals", {"deal": deal, "role": "buyer", "state": state.phase, "reason": state.reason})
        if over:
            log.info("purchase is over", deal=deal, state=state.phase, reason=state.reason)
            self._runners.pop(deal, None)

    async def _on_change(self, change: Change) -> None:
        name, args = change.log.name, change.log.args
        if change.removed:
            if name == "Locked" and (runner := self._by_sale(args["saleId"])):
                await runner.feed(ev.Undone())
        elif name == "Locked":
            if runner := self._by_point(args["bx"], args["by"]):
                await runner.feed(ev.Locked(sale=str(args["saleId"]), deliver_by=args["deliverBy"]))
        elif name == "Delivered":
            if runner := self._by_sale(args["saleId"]):
                key = MaskedKey(ex=args["ex"], parity=args["parity"], masked=args["c"])
                await runner.feed(ev.Posted(key=key, dispute_by=args["disputeBy"]))
        elif name == "Finished":
            if runner := self._by_sale(args["saleId"]):
                await runner.feed(ev.Finished("paid" if args["state"] == SaleState.PAID else "refunded"))
        elif name == "Misbehaved":
            for runner in list(self._runners.values()):
                if runner.state.terms.offer_no == args["offerId"]:
                    await runner.feed(ev.Proven())

    async def _on_block(self, clock: ev.Clock) -> None:
        for runner in list(self._runners.values()):
            await runner.feed(ev.Tick())

    def _by_sale(self, sale: int) -> Runner[BuyerState] | None:
        return next((r for r in self._runners.values() if r.state.sale == str(sale)), None)

    def _by_point(self, bx: bytes, by: bytes) -> Runner[BuyerState] | None:
        return next((r for r in self._runners.values() if public_point(r.state.secret) == (bx, by)), None)

    def _offer(self, offer: str) -> Listed[Offer]:
        listed = self._catalog.get(offer, Offer)
        if listed is None:
            raise NotFound(f"offer {offer} is not known here, or is over")
        return listed

    def _bought(self, deal: str) -> Listed[Offer]:
        """The offer as it was when the deal began: it may be withdrawn or expired by now."""
        item = open_item(self._envelopes[deal], chain_id=self._chain.chain_id, author=None)
        return Listed(item=item, body=decode(item.body, Offer, max_bytes=MAX_BODY_BYTES))


class Saved(msgspec.Struct, frozen=True):
    """A purchase in the journal: the machine's state and the signed offer it is about."""

    state: bytes
    envelope: bytes
