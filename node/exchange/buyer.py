"""The buyer: from an offer to records in the shard, or to the money back.

Carries out what the buyer's machine (`protocols/exchange/machine.py`, with its picture) asks for. Every deal is a
row in the journal and survives `kill -9` at any instant: states are written before their actions, transactions go
through the wallet's outbox under names that the machine makes, and the contract's log, not a receipt, moves a deal on.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import structlog
import trio

from contracts.bindings.sale import SaleState
from contracts.chain import Chain
from contracts.logs import Change
from node.blocks import Blocks, BlocksError
from node.exchange.errors import CannotDispute, ExchangeError, NoSuchDeal, OwnOffer, SellerSilent
from node.exchange.judge import Scorer, judge, measure
from node.exchange.runner import Runner, attempt
from node.exchange.seller_client import Wire, ask_key, ask_openings
from node.exchange.watch import ChainWatch
from node.journal.deals import Deal, Deals
from node.market.catalog import Catalog, Listed
from node.market.errors import NotFound
from node.wallet.errors import InsufficientFunds
from node.wallet.transact import Transactor
from protocols.codec import decode
from protocols.envelope import MAX_BODY_BYTES, open_item
from protocols.errors import ProtocolError
from protocols.exchange import events as ev
from protocols.exchange import machine
from protocols.exchange.events import Call
from protocols.exchange.handover import CellEvidence, MaskedKey, one_time_key, public_point
from protocols.exchange.purchase import Buyer, BuyerState, Terms
from protocols.exchange.sampling import DEFAULT_CAP, Measured, Verdict, sample_block, sample_count, sample_indices
from protocols.ids import Cid, PeerId
from protocols.offers.offer import Offer
from protocols.sealed import Payload, Record, parse, root_of, salvage

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

FETCH_TIMEOUT_S = 600.0
BLOCK_WAIT_S = (
    120.0  # how long to wait for the block that chooses the sample; two minutes are ten blocks of a slow chain
)
BLOCK_POLL_S = 0.2


class Importer(Protocol):
    """Puts bought records into the shard; returns how many."""

    async def __call__(self, records: Sequence[Record], offer: Listed[Offer], deal: str) -> int: ...


# Counts a purchase against the day's limit, once under its name; raises SpendLimit
Spend = Callable[[str, int], Awaitable[None]]


class Sample(msgspec.Struct, frozen=True):
    """What a sample showed."""

    cells: int
    ok: bool
    reasons: tuple[str, ...]
    measured: Measured | None


class Purchases:
    """All purchases of this node; run `serve` in the node's nursery."""

    def __init__(
        self,
        *,
        chain: Chain,
        transactor: Transactor,
        wire: Wire,
        blocks: Blocks,
        catalog: Catalog,
        store: Deals,
        watch: ChainWatch,
        importer: Importer,
        scorer: Scorer,
        spend: Spend,
        events: Any,
        clock: Callable[[], int],
    ) -> None:
        self._chain = chain
        self._transactor = transactor
        self._wire = wire
        self._blocks = blocks
        self._catalog = catalog
        self._store = store
        self._watch = watch
        self._importer = importer
        self._scorer = scorer
        self._spend = spend
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
            await trio.sleep_forever()

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
        listed = self._offer(offer)
        payload = await self._fetch(listed.body.cid, listed.body.size_bytes, listed.item.peer)
        if root_of(payload) != listed.body.root:
            return Sample(
                0, ok=False, reasons=("the payload does not have the root that the offer names",), measured=None
            )
        count = sample_count(listed.body.cells)
        return await self._sample(listed, payload, sample_block(listed.body.block), count, cells)

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

    def runner(self, deal: str) -> Runner[BuyerState] | None:
        """A purchase that is under way."""
        return self._runners.get(deal)

    # --- the machine's surroundings ---

    def _run(self, deal: str, state: BuyerState, envelope: bytes, created_at: int) -> Runner[BuyerState]:
        if self._nursery is None:
            raise ExchangeError("the exchange is not running yet")

        async def save(after: BuyerState) -> None:
            await self._save(deal, after, created_at)

        async def perform(action: Any) -> Any:
            return await self._perform(runner.state, action)

        self._envelopes[deal] = envelope
        runner = Runner(state, save=save, perform=perform, clock=lambda: self._watch.clock, nursery=self._nursery)
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

    # --- the machine's actions ---

    async def _perform(self, state: BuyerState, action: Any) -> Any:
        match action:
            case ev.Fetch():
                return await self._do_fetch(state, action)
            case ev.AskSample():
                return await self._do_sample(state, action)
            case ev.ReadOffer():
                return await self._do_read_offer(state, action)
            case ev.AskKey():
                return await self._do_ask_key(state, action)
            case ev.Verify():
                payload = await self._payload(state)
                return await trio.to_thread.run_sync(machine.examine, state, action, payload)
            case ev.Import():
                return await self._do_import(state, action)
            case ev.Withdraw():
                send = self._sender(action.key, self._chain.sale.withdraw())
                return await attempt(Call.WITHDRAW, send) or ev.Withdrawn()
            case ev.Lock() | ev.Confirm() | ev.Dispute() | ev.Refund():
                return await self._do_call(state.terms, action)
            case _:  # Wait: the next block's Tick moves the deal on
                return None

    async def _do_fetch(self, state: BuyerState, action: ev.Fetch) -> Any:
        try:
            payload = await self._fetch(action.cid, action.max_bytes, self._bought(state.terms.deal).item.peer)
        except (BlocksError, ProtocolError) as err:
            return ev.FetchFailed(f"the payload could not be fetched: {err}")
        root = await trio.to_thread.run_sync(root_of, payload)
        return ev.Fetched(root=root, cells=payload.cells)

    async def _do_sample(self, state: BuyerState, action: ev.AskSample) -> ev.Judged:
        payload = await self._payload(state)
        sample = await self._sample(self._bought(state.terms.deal), payload, action.block, action.count, None)
        return ev.Judged(ok=sample.ok, reasons=sample.reasons)

    async def _do_read_offer(self, state: BuyerState, action: ev.ReadOffer) -> ev.OfferRead:
        terms = await self._chain.sale.offer_terms(action.offer_no)
        active = await self._chain.registry.is_active(terms.dataset)
        same_seller = terms.seller == state.terms.seller
        return ev.OfferRead(
            root=terms.root,
            cells=terms.cells,
            price_wei=str(terms.price_wei),
            live=terms.is_open and active and same_seller,
            covered=terms.open < terms.max_open,
        )

    async def _do_ask_key(self, state: BuyerState, action: ev.AskKey) -> ev.KeyGiven | ev.KeyDenied:
        await trio.sleep(action.after_s)
        offer = self._bought(state.terms.deal)
        try:
            return ev.KeyGiven(await ask_key(self._wire, offer.item.peer, offer.item.id, action.sale))
        except SellerSilent as err:
            return ev.KeyDenied(str(err))

    async def _do_import(self, state: BuyerState, action: ev.Import) -> ev.Imported:
        payload = await self._payload(state)
        contents = await trio.to_thread.run_sync(salvage, payload, action.content_key)
        count = await self._importer(contents.records, self._bought(state.terms.deal), state.terms.deal)
        return ev.Imported(records=count, unreadable=len(contents.unreadable))

    async def _do_call(self, terms: Terms, action: ev.Lock | ev.Confirm | ev.Dispute | ev.Refund) -> ev.Failed | None:
        sale = self._chain.sale
        match action:
            case ev.Lock():
                return await attempt(Call.LOCK, lambda: self._lock(action, terms.deal, terms.price_wei))
            case ev.Confirm():
                return await attempt(Call.CONFIRM, self._sender(action.key, sale.confirm(int(action.sale))))
            case ev.Refund():
                return await attempt(Call.REFUND, self._sender(action.key, sale.refund(int(action.sale))))
            case ev.Dispute():
                is_cell = isinstance(action.evidence, CellEvidence)
                dispute = sale.dispute_cell if is_cell else sale.dispute_key
                return await attempt(Call.DISPUTE, self._sender(action.key, dispute(*action.evidence.arguments())))

    async def _lock(self, action: ev.Lock, deal: str, price_wei: str) -> None:
        price = int(action.max_price_wei)
        await self._spend(f"deal:{deal}", int(price_wei))
        await self._transactor.allow(self._chain.sale.address, price)
        await self._transactor.once(action.key, self._chain.sale.lock(action.offer_no, price, action.bx, action.by))

    def _sender(self, key: str, call: Any) -> Callable[[], Any]:
        return lambda: self._transactor.once(key, call)

    # --- payload and sample ---

    async def _payload(self, state: BuyerState) -> Payload:
        return await self._fetch(state.terms.cid, state.terms.size_bytes, self._bought(state.terms.deal).item.peer)

    async def _fetch(self, cid: str, max_bytes: int, peer: PeerId) -> Payload:
        """The payload, from the block store once it was fetched. Raises BlocksError, Malformed."""
        data = await self._blocks.fetch(Cid(cid), providers=[peer], max_bytes=max_bytes, timeout_s=FETCH_TIMEOUT_S)
        return await trio.to_thread.run_sync(lambda: parse(data, max_bytes=max_bytes))

    async def _sample(
        self, listed: Listed[Offer], payload: Payload, block: int, count: int, look_at: int | None
    ) -> Sample:
        try:
            wanted = sample_indices(await self._block_hash(block), listed.body.root, listed.body.cells, count)
            openings = await ask_openings(self._wire, listed.item.peer, listed.item.id, wanted, block)
            keys = [(opening.cell, opening.key) for opening in openings][:look_at]
            measured = await trio.to_thread.run_sync(measure, payload, keys, self._scorer)
        except (SellerSilent, ProtocolError) as err:
            return Sample(0, ok=False, reasons=(str(err),), measured=None)
        verdict: Verdict = judge(listed.body, measured)
        return Sample(len(keys), ok=verdict.ok, reasons=verdict.reasons, measured=measured)

    async def _block_hash(self, block: int) -> bytes:
        with trio.move_on_after(BLOCK_WAIT_S):
            while True:
                found = await self._chain.block_hash(block)
                if found is not None:
                    return bytes.fromhex(found[2:])
                await trio.sleep(BLOCK_POLL_S)
        raise SellerSilent(f"block {block}, which chooses the sample, was not mined within {BLOCK_WAIT_S:.0f} s")


class Saved(msgspec.Struct, frozen=True):
    """A purchase in the journal: the machine's state and the signed offer it is about."""

    state: bytes
    envelope: bytes
