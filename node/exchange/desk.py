"""Deals as they are shown and asked for: one face over purchases, sales and their transactions."""

from __future__ import annotations

import msgspec

from contracts.bindings.sale import SaleState
from contracts.chain import Chain
from contracts.errors import ChainError
from node.exchange.acting import Sample
from node.exchange.buyer import Purchases, Saved
from node.exchange.errors import NoSuchDeal
from node.journal.deals import Deal, Deals
from node.journal.transactions import Transactions
from protocols.exchange import machine
from protocols.exchange.events import Call
from protocols.exchange.purchase import Buyer, BuyerState
from protocols.exchange.selling import Seller, SellerState

MINED = ("done", "reverted")
CALLS = frozenset(Call)  # one of them stands in the key of every transaction of a deal


class DealStep(msgspec.Struct, frozen=True):
    """A state the deal went through and when (UTC seconds)."""

    state: str
    at: int


class DealTx(msgspec.Struct, frozen=True):
    """One transaction of the deal; `gas` is 0 until it is mined."""

    step: str
    hash: str
    state: str
    gas: int


class DealView(msgspec.Struct, frozen=True):
    """A deal without its secrets. `over`: nothing follows by itself. `bytes` is the payload's size.

    `held_wei` of the price stays in the contract until `ripens_at` (UTC seconds), and goes back to the buyer when a
    fault of the offer is proved before. Told for one deal, not in lists.
    """

    deal: str
    role: str
    offer: str
    sale: str
    state: str
    over: bool
    reason: str
    price_wei: str
    bytes: int
    records: int
    unreadable: int
    txs: list[DealTx]
    gas: int
    steps: list[DealStep]
    created_at: int
    updated_at: int
    held_wei: str = "0"
    ripens_at: int = 0


class _Mined(msgspec.Struct, frozen=True):
    gas_used: str = msgspec.field(name="gasUsed", default="0x0")


class DealDesk:
    """What the `deals` methods call."""

    def __init__(self, chain: Chain, purchases: Purchases, store: Deals, transactions: Transactions) -> None:
        self._chain = chain
        self._purchases = purchases
        self._store = store
        self._transactions = transactions

    async def sample(self, offer: str, cells: int | None) -> Sample:
        """Look at sampled cells without buying."""
        return await self._purchases.sample(offer, cells)

    async def buy(self, offer: str, max_price_wei: int) -> str:
        """Begin a purchase; its id."""
        return await self._purchases.buy(offer, max_price_wei)

    async def dispute(self, deal: str) -> None:
        """Prove a fault, or say why there is none to prove."""
        await self._purchases.dispute(deal)

    async def view(self, deal: str) -> DealView:
        """One deal, and what the contract holds back of its price. Raises NoSuchDeal."""
        row = await self._store.get(deal)
        if row is None:
            raise NoSuchDeal(f"no deal {deal} here")
        view = await self._show(row)
        try:
            held_wei, ripens_at = await self._held(row)
        except ChainError:  # the deal is shown all the same
            return view
        return msgspec.structs.replace(view, held_wei=str(held_wei), ripens_at=ripens_at)

    async def _held(self, row: Deal) -> tuple[int, int]:
        """The held share of a paid price and when it is the seller's; 0 once it is, or somebody's else."""
        if row.state not in (Seller.PAID, Buyer.SETTLED):
            return 0, 0
        paid = await self._chain.sale.sale(int(row.sale))
        window_s = await self._chain.sale.feedback_window()
        ripens_at = (paid.deadline // window_s + 2) * window_s  # `deadline` is when it was paid
        if paid.state != SaleState.PAID or await self._chain.timestamp() >= ripens_at:
            return 0, 0
        return await self._chain.sale.held_share(paid.price_wei), ripens_at

    async def newest(self, limit: int) -> list[DealView]:
        """The newest deals first."""
        return [await self._show(row) for row in await self._store.newest(limit)]

    async def _show(self, row: Deal) -> DealView:
        price, size, records, unreadable, prefix = _facts(row)
        txs = [
            DealTx(
                step=next((part for part in step.key.split(":") if part in CALLS), ""),
                hash=step.hash,
                state=step.state,
                gas=_gas(step.receipt) if step.state in MINED else 0,
            )
            for step in await self._transactions.under(prefix)
        ]
        return DealView(
            deal=row.deal,
            role=row.role,
            offer=row.offer,
            sale=row.sale,
            state=row.state,
            over=bool(row.over),
            reason=row.reason,
            price_wei=price,
            bytes=size,
            records=records,
            unreadable=unreadable,
            txs=txs,
            gas=sum(tx.gas for tx in txs),
            steps=[DealStep(step.state, step.at) for step in await self._store.steps(row.deal)],
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


def _facts(row: Deal) -> tuple[str, int, int, int, str]:
    """Price, payload size, records, unreadable cells, and how the deal's transactions are named."""
    if row.role == "seller":
        sold = machine.restore(row.machine, SellerState)
        return "0", 0, 0, 0, f"{sold.sale}:"
    saved = msgspec.msgpack.decode(row.machine, type=Saved)
    state = machine.restore(saved.state, BuyerState)
    terms = state.terms
    return terms.price_wei, terms.size_bytes, state.records, state.unreadable, f"{terms.deal}:"


def _gas(receipt: bytes | None) -> int:
    return int(msgspec.json.decode(receipt, type=_Mined).gas_used, 16) if receipt else 0
