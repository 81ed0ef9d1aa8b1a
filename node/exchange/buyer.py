"""The buyer: from an offer to records in the shard, or to the money back.

Carries out what the buyer's machine (`protocols/exchange/machine.py`, with its picture) asks for. Every deal is a
row in the journal and survives `kill -9` at any instant: states are written before their actions, transactions go
through the wallet's outbox under names that the machine makes, and the contract's log, not a receipt, moves a deal on.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
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
from node.identity.errors import NoWallet
from node.journal.deals import Deal, Deals
from node.market.catalog.catalog import Catalog, Listed
from node.market.errors import NotFound
from node.wallet.errors import InsufficientFunds
from node.wallet.transact import Transactor
from protocols.codec import decode
from protocols.envelope import MAX_BODY_BYTES, open_item
from protocols.exchange import events as ev
from protocols.exchange import machine
from protocols.exchange.handover import CellEvidence, MaskedKey, one_time_key, public_point
from protocols.exchange.purchase import Buyer, BuyerState, Terms
from protocols.exchange.sampling import DEFAULT_CAP
from protocols.offers.offer import Offer

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

WITHDRAWN = (Buyer.REFUNDED, Buyer.RECLAIMED, Buyer.DISPUTED)
UNDONE_S = 3_600  # how long a withdrawal that is over may still be taken back by a reorganisation


class Policy(msgspec.Struct, frozen=True):
    """What a buyer insists on."""

    confirm_margin_s: int = 900  # chain time before the delivery deadline at which he confirms by himself
    max_disputes_lost: int = 1  # of a seller from whom he still buys


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
        policy: Policy,
        warn: Callable[[int], Awaitable[None]],
        events: Any,
        clock: Callable[[], int],
    ) -> None:
        self._chain = chain
        self._policy = policy
        self._warn = warn
        self._transactor = transactor
        self._acting = acting
        self._catalog = catalog
        self._store = store
        self._watch = watch
        self._events = events
        self._clock = clock
        self._runners: dict[str, Runner[BuyerState]] = {}
        self._waking = trio.Lock()
        self._nursery: trio.Nursery | None = None
        watch.listen(self._on_change, self._on_block)

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Go on with unfinished purchases, then with new ones, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for row in await self._store.unfinished("buyer"):
                self._restored(row).resume()
                log.info("purchase resumes", deal=row.deal, state=row.state)
            await self._warn_again()
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def _warn_again(self) -> None:
        """Faults that were proved here and may not be counted yet."""
        for row in await self._store.in_state("buyer", [Buyer.DISPUTED]):
            self._spawn(self._warn, int(row.sale) >> 64)

    def resume(self) -> None:
        """Begin again what every open purchase waits for: after an unlock, calls need not rest any longer."""
        self._spawn(self._warn_again)
        for runner in list(self._runners.values()):
            runner.resume()

    async def buy(self, offer: str, max_price_wei: int) -> str:
        """Begin to buy; returns the deal's id at once. Raises NotFound, OwnOffer, WalletLocked."""
        self._transactor.require_unlocked()
        listed = await self._offer(offer)
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
            confirm_margin_s=self._policy.confirm_margin_s,
            max_disputes_lost=self._policy.max_disputes_lost,
        )
        state = machine.begin(terms, one_time_key(secrets.token_bytes))
        runner = self._run(deal, state, listed.item.raw, self._clock())
        self._runners[deal] = runner
        await self._save(runner, deal, state, listed.item.raw, self._clock())
        runner.resume()
        return deal

    async def sample(self, offer: str, cells: int | None = None) -> Sample:
        """Fetch an offer's payload and judge its sampled openings, without buying.

        `cells` lowers the count looked at.
        """
        return await self._acting.sample(await self._offer(offer), cells)

    async def dispute(self, deal: str) -> None:
        """Examine a deal's goods again, and show the contract a cell that is not what its seller committed to.

        The machine disputes by itself what it finds before it pays; this looks again afterwards. Raises NoSuchDeal,
        CannotDispute, BlocksError.
        """
        row = await self._store.get(deal)
        if row is None or row.role != "buyer":
            raise NoSuchDeal(f"no purchase {deal} here")
        if row.state in (Buyer.DISPUTING, Buyer.DISPUTED):
            return
        if row.state != Buyer.SETTLED:
            raise CannotDispute(f"the deal is {row.state}: nothing that its seller did wrong can be proven on chain")
        saved = _saved(row)
        state = machine.restore(saved.state, BuyerState)
        if not state.secret:
            raise CannotDispute("its records were forgotten, and their key with them")
        found = await self._acting.examine(state, self._bought(saved.envelope))
        if not isinstance(found, ev.Faulted) or not isinstance(found.evidence, CellEvidence):
            raise CannotDispute("every cell is what its seller committed to")
        async with self._at(deal) as runner:
            if runner is not None:
                await runner.feed(found)

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
            await self._save(runner, deal, after, envelope, created_at)

        async def perform(action: Any) -> Any:
            return await self._acting.perform(runner.state, action, lambda: self._bought(envelope))

        runner = Runner(state, save=save, perform=perform, clock=lambda: self._watch.clock, spawn=self._spawn)
        return runner

    def _restored(self, row: Deal) -> Runner[BuyerState]:
        saved = _saved(row)
        runner = self._run(row.deal, machine.restore(saved.state, BuyerState), saved.envelope, row.created_at)
        if not row.over:
            self._runners[row.deal] = runner
        return runner

    @asynccontextmanager
    async def _at(self, deal: str) -> AsyncIterator[Runner[BuyerState] | None]:
        """A deal to feed; one that is over is woken for it, by one at a time."""
        if deal in self._runners:
            yield self._runners[deal]
            return
        async with self._waking:
            row = None if deal in self._runners else await self._store.get(deal)
            yield self._runners.get(deal) or (self._restored(row) if row else None)

    async def _save(
        self, runner: Runner[BuyerState], deal: str, state: BuyerState, envelope: bytes, created_at: int
    ) -> None:
        over = machine.ended(state)
        row = Deal(
            deal=deal,
            role="buyer",
            offer=state.terms.offer,
            sale=state.sale,
            state=state.phase,
            over=int(over),
            reason=state.reason,
            machine=msgspec.msgpack.encode(Saved(state=machine.store(state), envelope=envelope)),
            created_at=created_at,
            updated_at=self._clock(),
        )
        await self._store.save(row)
        self._events.publish("deals", {"deal": deal, "role": "buyer", "state": state.phase, "reason": state.reason})
        if over:
            log.info("purchase is over", deal=deal, state=state.phase, reason=state.reason)
            self._runners.pop(deal, None)
            if state.phase is Buyer.DISPUTED:
                self._spawn(self._warn, state.terms.offer_no)
        else:
            self._runners[deal] = runner

    # --- what the chain says ---

    async def _on_change(self, change: Change) -> None:
        name, args = change.log.name, change.log.args
        if name == "Locked":
            if args["buyer"] == self._me():
                await self._on_lock(args, removed=change.removed)
        elif name == "Withdrawn":
            if change.removed and args["who"] == self._me():
                for row in await self._store.in_state("buyer", WITHDRAWN, self._clock() - UNDONE_S):
                    await self._tell(row.deal, ev.Withdrawn(), removed=True)
        elif (news := _news(name, args, self._me())) is not None:
            for deal in await self._concerned(args):
                await self._tell(deal, news, removed=change.removed)

    async def _tell(self, deal: str, news: ev.BuyerNews | ev.Withdrawn, *, removed: bool) -> None:
        async with self._at(deal) as runner:
            if runner is not None:
                await runner.feed(ev.Undone(news) if removed else news)

    async def _on_lock(self, args: dict[str, Any], *, removed: bool) -> None:
        if removed:
            for deal in await self._concerned(args):
                async with self._at(deal) as runner:
                    if runner is not None:
                        await runner.feed(ev.Undone())
        elif (mine := await self._locked_by((args["bx"], args["by"]))) is not None:
            async with self._at(mine) as runner:
                if runner is not None:
                    await runner.feed(ev.Locked(sale=str(args["saleId"]), deliver_by=args["deliverBy"]))

    async def _concerned(self, args: dict[str, Any]) -> list[str]:
        """The deals that an event is about: of one sale, or of all of an offer."""
        if "saleId" in args:
            row = await self._store.by_sale("buyer", str(args["saleId"]))
            return [row.deal] if row else []
        return [row.deal for row in await self._store.about("buyer", args["offerId"])]

    async def _locked_by(self, point: tuple[bytes, bytes]) -> str | None:
        """The deal whose one-time key a lock names; also of one that was given up too early."""
        for deal, runner in self._runners.items():
            if (secret := runner.state.secret) and public_point(secret) == point:
                return deal
        for row in await self._store.in_state("buyer", [Buyer.REFUSED]):
            given_up = machine.restore(_saved(row).state, BuyerState).secret
            if given_up and public_point(given_up) == point:
                return row.deal
        return None

    def _me(self) -> str:
        try:
            return self._transactor.address
        except NoWallet:
            return ""

    async def _on_block(self, clock: ev.Clock) -> None:
        for runner in list(self._runners.values()):
            await runner.feed(ev.Tick())

    async def _offer(self, offer: str) -> Listed[Offer]:
        found = await self._catalog.whole([offer], Offer)
        if not found:
            raise NotFound(f"offer {offer} is not known here, or is over")
        return found[0]

    def _bought(self, envelope: bytes) -> Listed[Offer]:
        """The offer as it was when the deal began: it may be withdrawn or expired by now."""
        item = open_item(envelope, chain_id=self._chain.chain_id, author=None)
        return Listed(item=item, body=decode(item.body, Offer, max_bytes=MAX_BODY_BYTES))


class Saved(msgspec.Struct, frozen=True):
    """A purchase in the journal: the machine's state and the signed offer it is about."""

    state: bytes
    envelope: bytes


def _saved(row: Deal) -> Saved:
    return msgspec.msgpack.decode(row.machine, type=Saved)


def _news(name: str, args: dict[str, Any], me: str) -> ev.BuyerNews | None:
    """What an event of the contract means to a buyer."""
    match name:
        case "Delivered":
            key = MaskedKey(ex=args["ex"], parity=args["parity"], masked=args["c"])
            return ev.Posted(key=key, dispute_by=args["disputeBy"])
        case "Finished":
            return ev.Finished("paid" if args["state"] == SaleState.PAID else "refunded")
        case "Misbehaved":
            return ev.Proven(own=args["reporter"] == me)
        case "Reclaimed":
            return ev.Reclaimed()
    return None
