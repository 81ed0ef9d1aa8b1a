"""The seller's post: signed confirmations of his buyers, brought to the contract many at a time.

One that waits alone costs a whole transaction, in a batch a fraction of it. So they wait for company: until a batch is
full, the first of them has waited long enough, or a delivery deadline is near. A batch is journalled before its
transaction is signed, and the transaction bears its number: after a crash it is taken up, not repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

from contracts.chain import Chain
from contracts.errors import ChainError
from contracts.values import Receipt
from node.exchange.runner import attempt
from node.journal.confirmations import Batch, Confirmation, Confirmations
from node.wallet.transact import Transactor
from protocols.exchange import events as ev
from protocols.exchange.events import Call, Clock

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

MOST = 64  # sales a batch: about 2 million gas, a small part of any chain's block


class Patience(msgspec.Struct, frozen=True):
    """How long a confirmation waits for company, in seconds of wall clock, and how many travel together."""

    wait_s: float
    most: int = MOST


class _Parcel:
    """A confirmation on its way; `outcome` is what its sale is told then, None when the contract's log will tell."""

    def __init__(self, item: Confirmation, by: int) -> None:
        self.item = item
        self.by = by
        self.since = trio.current_time()
        self.done = trio.Event()
        self.outcome: ev.Failed | ev.Skipped | None = None

    def end(self, outcome: ev.Failed | ev.Skipped | None) -> None:
        self.outcome = outcome
        self.done.set()


class Batches:
    """All confirmations of this node's sales; run `serve` in the node's nursery."""

    def __init__(
        self,
        *,
        chain: Chain,
        transactor: Transactor,
        store: Confirmations,
        patience: Patience,
        clock: Callable[[], Clock],
    ) -> None:
        self._chain = chain
        self._transactor = transactor
        self._store = store
        self._patience = patience
        self._clock = clock
        self._waiting: dict[str, _Parcel] = {}  # by sale, the longest waiting first
        self._carried: dict[str, _Parcel] = {}
        self._halted: dict[str, Batch] = {}  # by sale: its transaction may be under way, nobody follows it now
        self._stirred = trio.Event()

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take up what a crash interrupted, then bring what comes, until cancelled."""
        async with trio.open_nursery() as nursery:
            for batch in await self._store.unfinished():
                self._halted.update({item.sale: batch for item in batch.items})
            task_status.started()
            while True:
                self._stirred = trio.Event()
                for batch, parcels in self._asked_for():
                    nursery.start_soon(self._carry, batch, parcels)
                pause = self._pause()
                if pause <= 0:
                    nursery.start_soon(self._carry, *await self._form())
                else:
                    with trio.move_on_after(pause):
                        await self._stirred.wait()

    def stir(self) -> None:
        """A block came: a deadline may be near."""
        self._stirred.set()

    async def bring(self, item: Confirmation, by: int) -> ev.Failed | ev.Skipped | None:
        """Wait until the batch with `item` is through; None when the contract took it, or the sale is over."""
        parcel = self._carried.get(item.sale) or self._waiting.get(item.sale)
        if parcel is None or parcel.item != item:
            parcel = self._waiting[item.sale] = _Parcel(item, by)
            self._stirred.set()
        await parcel.done.wait()
        return parcel.outcome

    def _pause(self) -> float:
        """Seconds until a batch is due."""
        if not self._waiting:
            return float("inf")
        near = self._clock().time >= min(parcel.by for parcel in self._waiting.values())
        if near or len(self._waiting) >= self._patience.most:
            return 0
        first = next(iter(self._waiting.values()))
        return first.since + self._patience.wait_s - trio.current_time()

    async def _form(self) -> tuple[Batch, list[_Parcel]]:
        parcels = list(self._waiting.values())[: self._patience.most]
        for parcel in parcels:
            self._take(parcel)
        return await self._store.form([parcel.item for parcel in parcels]), parcels

    def _asked_for(self) -> list[tuple[Batch, list[_Parcel]]]:
        """Halted batches one of whose sales asks again, all that is in them."""
        asked = {batch.number: batch for sale in self._waiting if (batch := self._halted.get(sale))}
        found = []
        for batch in asked.values():
            parcels = [self._waiting.get(item.sale) or _Parcel(item, 0) for item in batch.items]
            for parcel in parcels:
                del self._halted[parcel.item.sale]
                self._take(parcel)
            found.append((batch, parcels))
        return found

    def _take(self, parcel: _Parcel) -> None:
        self._waiting.pop(parcel.item.sale, None)
        self._carried[parcel.item.sale] = parcel

    async def _carry(self, batch: Batch, parcels: list[_Parcel]) -> None:
        receipts: list[Receipt] = []
        call = self._chain.sale.confirm_many([int(i.sale) for i in batch.items], [i.signature for i in batch.items])

        async def send() -> None:
            receipts.append(await self._transactor.once(f"confirm:{batch.number}", call))

        failed = await attempt(Call.CONFIRM, send)
        outcomes = [failed or await self._outcome(parcel.item, receipts[0]) for parcel in parcels]
        if failed is None or failed.certain:
            await self._store.finish(batch.number)
        else:
            self._halted.update({item.sale: batch for item in batch.items})
        for parcel, outcome in zip(parcels, outcomes, strict=True):
            if self._carried.get(parcel.item.sale) is parcel:
                del self._carried[parcel.item.sale]
            parcel.end(outcome)
        if receipts:
            log.info("confirmations brought", batch=batch.number, sales=len(parcels), gas=receipts[0].gas_used)

    async def _outcome(self, item: Confirmation, receipt: Receipt) -> ev.Failed | ev.Skipped | None:
        if int(item.sale) in [event["saleId"] for event in receipt.events("Finished", self._chain.sale.address)]:
            return None
        try:
            sale = await self._chain.sale.sale(int(item.sale))
        except ChainError as err:
            return ev.Failed(Call.CONFIRM, str(err), certain=False)
        return ev.Skipped() if sale.is_locked or sale.is_delivered else None
