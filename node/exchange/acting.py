"""What a purchase does in the world: fetch, sample, read the offer, lock, ask for the key, verify, import, pay.

Each action of the buyer's machine (`protocols/exchange/machine.py`) becomes one event that tells how it went. Trouble
that may pass (no endpoint, no block store) is `Hindered`: the machine rests and asks again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, cast

import msgspec
import structlog
import trio

from contracts.chain import Chain
from contracts.errors import ChainError, Reverted
from node.blocks import Blocks, BlocksError
from node.exchange.errors import SellerBusy, SellerSilent
from node.exchange.judge import Scorer, judge, measure
from node.exchange.runner import attempt
from node.exchange.seller_client import Wire, ask_key, ask_openings, bring_consent
from node.identity.errors import WalletLocked
from node.market.catalog.catalog import Listed
from node.shard.errors import ShardError
from node.wallet.transact import Transactor
from protocols.errors import ProtocolError
from protocols.exchange import events as ev
from protocols.exchange import machine
from protocols.exchange.confirmation import confirm_digest, sale_domain
from protocols.exchange.events import Call
from protocols.exchange.handover import CellEvidence
from protocols.exchange.messages import Opening
from protocols.exchange.purchase import BuyerState, Terms
from protocols.exchange.sampling import Measured, sample_block, sample_count, sample_indices
from protocols.ids import Address, Cid
from protocols.offers.offer import Offer
from protocols.sealed import Payload, Record, parse, root_of, salvage

log = structlog.get_logger(__name__)

FETCH_TIMEOUT_S = 600.0
FETCH_BYTES_PER_S = 200_000  # a large payload on a slow line takes its time; what came is kept in any case
BLOCK_WAIT_S = 120.0  # for the block that chooses the sample; two minutes are ten blocks of a slow chain
BLOCK_POLL_S = 0.2
BUSY_S, BUSY_POLL_S = 30.0, 1.0  # a seller who has just started again knows his offers within seconds
PASSING = (ChainError, BlocksError, ShardError)
OTHER_PAYLOAD = "the payload does not have the root that the offer names"

# Counts a purchase against the day's limit, once under its name; raises SpendLimit
Spend = Callable[[str, int], Awaitable[None]]
Sign = Callable[[bytes], bytes]  # the wallet's EIP-2098 signature of a digest; raises WalletLocked
Bought = Callable[[], Listed[Offer]]  # the offer a purchase is about


class Importer(Protocol):
    """Puts bought records into the shard; returns how many."""

    async def __call__(self, records: Sequence[Record], offer: Listed[Offer], deal: str) -> int: ...


class Sample(msgspec.Struct, frozen=True):
    """What a sample showed."""

    cells: int
    ok: bool
    reasons: tuple[str, ...]
    measured: Measured | None


class Acting:
    """Carries out the actions of purchases; keeps nothing between them."""

    def __init__(
        self,
        *,
        chain: Chain,
        transactor: Transactor,
        wire: Wire,
        blocks: Blocks,
        importer: Importer,
        scorer: Scorer,
        spend: Spend,
        sign: Sign,
    ) -> None:
        self._chain = chain
        self._transactor = transactor
        self._wire = wire
        self._blocks = blocks
        self._importer = importer
        self._scorer = scorer
        self._spend = spend
        self._sign = sign

    async def perform(self, state: BuyerState, action: Any, bought: Bought) -> Any:
        """The event that an action led to; None when the chain's log will tell."""
        match action:
            case ev.Fetch():
                return await self._fetch_payload(action, bought())
            case ev.AskKey():
                return await self._ask_key(action, bought())
            case ev.Consent():
                return await self._consent(action, bought())
            case ev.AskSample() | ev.ReadOffer() | ev.Verify() | ev.Import():
                try:
                    return await self._look(state, action, bought())
                except PASSING as err:
                    log.warning("a purchase has to wait", deal=state.terms.deal, reason=str(err))
                    return ev.Hindered(str(err))
            case ev.Withdraw():
                return await attempt(Call.WITHDRAW, lambda: self._withdraw(action)) or ev.Withdrawn()
            case ev.Reclaim():
                return await self._reclaim(action)
            case ev.Lock() | ev.Confirm() | ev.Dispute() | ev.Refund():
                return await self._call(state.terms, action)
            case _:  # Wait: the next block's Tick moves the deal on
                return None

    async def sample(self, offer: Listed[Offer], look_at: int | None) -> Sample:
        """Fetch an offer's payload and judge its sampled openings, without a purchase. Raises BlocksError."""
        payload = await self._payload(offer)
        if await trio.to_thread.run_sync(root_of, payload) != offer.body.root:
            return Sample(0, ok=False, reasons=(OTHER_PAYLOAD,), measured=None)
        count = sample_count(offer.body.cells)
        return await self._judge(offer, payload, sample_block(offer.body.block), count, look_at)

    async def examine(self, state: BuyerState, offer: Listed[Offer]) -> ev.Checked | ev.Faulted | None:
        """Check every cell with the key at hand once more; None without one. Raises BlocksError, Malformed."""
        if state.key is None:
            return None
        return await trio.to_thread.run_sync(
            machine.examine, state, ev.Verify(state.key, state.sale), await self._payload(offer)
        )

    async def _look(
        self, state: BuyerState, action: ev.AskSample | ev.ReadOffer | ev.Verify | ev.Import, offer: Listed[Offer]
    ) -> Any:
        if isinstance(action, ev.ReadOffer):
            return await self._read_offer(state.terms, action)
        payload = await self._payload(offer)
        match action:
            case ev.AskSample():
                sample = await self._judge(offer, payload, action.block, action.count, None)
                return ev.Judged(ok=sample.ok, reasons=sample.reasons)
            case ev.Verify():
                return await trio.to_thread.run_sync(machine.examine, state, action, payload)
            case ev.Import():
                return await self._import(state.terms, action, payload, offer)

    async def _fetch_payload(self, action: ev.Fetch, offer: Listed[Offer]) -> Any:
        try:
            payload = await self._payload(offer)
        except (BlocksError, ProtocolError) as err:
            return ev.FetchFailed(f"the payload could not be fetched: {err}")
        root = await trio.to_thread.run_sync(root_of, payload)
        return ev.Fetched(root=root, cells=payload.cells)

    async def _payload(self, offer: Listed[Offer]) -> Payload:
        """The payload, from the block store once it was fetched; else from the seller, or from whoever says that he
        has it: the sealed bytes are the same for all buyers, and prove themselves. Raises BlocksError, Malformed.
        """
        body, most = offer.body, offer.body.size_bytes
        timeout_s = max(FETCH_TIMEOUT_S, most / FETCH_BYTES_PER_S)
        content = await self._blocks.fetch_mapped(
            Cid(body.cid), providers=[offer.item.peer], max_bytes=most, timeout_s=timeout_s
        )
        data = cast(bytes, content)  # a mapped file gives bytes where it is sliced, and nothing else is done with it
        return await trio.to_thread.run_sync(lambda: parse(data, max_bytes=most))

    async def _judge(
        self, offer: Listed[Offer], payload: Payload, block: int, count: int, look_at: int | None
    ) -> Sample:
        try:
            wanted = sample_indices(await self._block_hash(block), offer.body.root, offer.body.cells, count)
            openings = await self._ask_openings(offer, wanted, block)
            keys = [(opening.cell, opening.key) for opening in openings][:look_at]
            measured = await trio.to_thread.run_sync(measure, payload, keys, self._scorer)
        except (SellerSilent, ProtocolError) as err:
            return Sample(0, ok=False, reasons=(str(err),), measured=None)
        verdict = judge(offer.body, measured)
        return Sample(len(keys), ok=verdict.ok, reasons=verdict.reasons, measured=measured)

    async def _ask_openings(self, offer: Listed[Offer], wanted: list[int], block: int) -> list[Opening]:
        with trio.move_on_after(BUSY_S):
            while True:
                try:
                    return await ask_openings(self._wire, offer.item.peer, offer.item.id, wanted, block)
                except SellerBusy:
                    await trio.sleep(BUSY_POLL_S)
        raise SellerSilent(f"the seller was busy for {BUSY_S:.0f} s")

    async def _block_hash(self, block: int) -> bytes:
        with trio.move_on_after(BLOCK_WAIT_S):
            while True:
                found = await self._chain.block_hash(block)
                if found is not None:
                    return bytes.fromhex(found[2:])
                await trio.sleep(BLOCK_POLL_S)
        raise SellerSilent(f"block {block}, which chooses the sample, was not mined within {BLOCK_WAIT_S:.0f} s")

    async def _read_offer(self, terms: Terms, action: ev.ReadOffer) -> ev.OfferRead:
        on_chain = await self._chain.sale.offer_terms(action.offer_no)
        active = await self._chain.registry.is_active(on_chain.dataset)
        record = await self._chain.reputation.facts(on_chain.seller)
        return ev.OfferRead(
            root=on_chain.root,
            cells=on_chain.cells,
            price_wei=str(on_chain.price_wei),
            live=on_chain.is_open and active and on_chain.seller == terms.seller,
            covered=on_chain.open < on_chain.max_open,
            disputes_lost=record.disputes_lost,
        )

    async def _ask_key(self, action: ev.AskKey, offer: Listed[Offer]) -> ev.KeyGiven | ev.KeyDenied:
        await trio.sleep(action.after_s)
        try:
            return ev.KeyGiven(await ask_key(self._wire, offer.item.peer, offer.item.id, action.sale))
        except SellerSilent as err:
            return ev.KeyDenied(str(err))

    async def _consent(self, action: ev.Consent, offer: Listed[Offer]) -> ev.Consented:
        await trio.sleep(action.after_s)
        domain = sale_domain(self._chain.chain_id, Address(self._chain.sale.address))
        try:
            signature = self._sign(confirm_digest(domain, int(action.sale)))
            await bring_consent(self._wire, offer.item.peer, offer.item.id, action.sale, signature)
        except (WalletLocked, SellerSilent) as err:
            return ev.Consented(taken=False, reason=str(err))
        return ev.Consented(taken=True)

    async def _import(self, terms: Terms, action: ev.Import, payload: Payload, offer: Listed[Offer]) -> ev.Imported:
        contents = await trio.to_thread.run_sync(salvage, payload, action.content_key)
        count = await self._importer(contents.records, offer, terms.deal)
        await self._blocks.share(Cid(offer.body.cid))  # if the settings give room for it
        return ev.Imported(records=count, unreadable=len(contents.unreadable))

    async def _call(self, terms: Terms, action: ev.Lock | ev.Confirm | ev.Dispute | ev.Refund) -> ev.Failed | None:
        sale = self._chain.sale
        match action:
            case ev.Lock():
                return await attempt(Call.LOCK, lambda: self._lock(terms, action))
            case ev.Confirm():
                return await attempt(Call.CONFIRM, self._sender(action.key, sale.confirm(int(action.sale))))
            case ev.Refund():
                return await attempt(Call.REFUND, self._sender(action.key, sale.refund(int(action.sale))))
            case ev.Dispute():
                is_cell = isinstance(action.evidence, CellEvidence)
                dispute = sale.dispute_cell if is_cell else sale.dispute_key
                return await attempt(Call.DISPUTE, self._sender(action.key, dispute(*action.evidence.arguments())))

    async def _withdraw(self, action: ev.Withdraw) -> None:
        """Nothing to do when another call has brought the money home."""
        if await self._chain.sale.credit(self._transactor.address):
            await self._transactor.once(action.key, self._chain.sale.withdraw())

    async def _reclaim(self, action: ev.Reclaim) -> ev.Failed | ev.NothingHeld | None:
        ripe: list[Reverted] = []

        async def send() -> None:
            try:
                await self._transactor.once(action.key, self._chain.sale.reclaim(int(action.sale)))
            except Reverted as err:
                if err.name != "AlreadyRipe":
                    raise
                ripe.append(err)

        failed = await attempt(Call.RECLAIM, send)
        return ev.NothingHeld("what was held of the price was the seller's already") if ripe else failed

    async def _lock(self, terms: Terms, action: ev.Lock) -> None:
        most = int(action.max_price_wei)
        await self._spend(f"deal:{terms.deal}", int(terms.price_wei))
        await self._transactor.allow(self._chain.sale.address, most)
        call = self._chain.sale.lock(action.offer_no, most, action.bx, action.by)
        await self._transactor.once(action.key, call)

    def _sender(self, key: str, call: Any) -> Callable[[], Any]:
        return lambda: self._transactor.once(key, call)
