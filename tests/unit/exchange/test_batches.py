"""When confirmations travel together, and what becomes of a batch whose transaction is in doubt."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trio
from trio.testing import MockClock

from contracts.values import Receipt
from node.exchange.batches import Batches, Patience
from node.journal import open_journal
from node.journal.confirmations import Confirmation, Confirmations
from node.wallet.errors import InsufficientFunds, StillPending
from protocols.exchange import events as ev
from protocols.exchange.events import Clock

WAIT_S = 60.0
FAR = 1 << 40


class Chain:
    """A sale contract that takes whatever is brought to it."""

    address = "0xSale"

    def __init__(self) -> None:
        self.sale = self
        self.trouble: list[Exception] = []
        self.sent: list[tuple[str, tuple[int, ...]]] = []

    def confirm_many(self, sales: list[int], signatures: list[bytes]) -> Any:
        return tuple(sales)

    async def once(self, key: str, call: tuple[int, ...]) -> Receipt:
        self.sent.append((key, call))
        if self.trouble:
            raise self.trouble.pop()
        logs = tuple(SimpleNamespace(name="Finished", address=self.address, args={"saleId": sale}) for sale in call)
        return Receipt("0x1", 1, "0x2", ok=True, gas_used=1, effective_gas_price=1, logs=logs)  # type: ignore[arg-type]


class Desk:
    """Batches over a journal, and what each sale was told."""

    def __init__(self, chain: Chain, batches: Batches, nursery: trio.Nursery) -> None:
        self.chain = chain
        self.batches = batches
        self.told: dict[int, Any] = {}
        self._nursery = nursery

    def bring(self, *sales: int, by: int = FAR) -> None:
        for sale in sales:
            self._nursery.start_soon(self._bring, sale, by)

    async def _bring(self, sale: int, by: int) -> None:
        self.told[sale] = await self.batches.bring(Confirmation(str(sale), bytes(64)), by)


@asynccontextmanager
async def open_desk(folder: Path, chain: Chain, *, now: int = 0, most: int = 3) -> AsyncIterator[Desk]:
    async with open_journal(folder / "journal.db") as journal, trio.open_nursery() as nursery:
        batches = Batches(
            chain=chain,  # type: ignore[arg-type]
            transactor=chain,  # type: ignore[arg-type]
            store=Confirmations(journal),
            patience=Patience(wait_s=WAIT_S, most=most),
            clock=lambda: Clock(now, 0),
        )
        await nursery.start(batches.serve)
        yield Desk(chain, batches, nursery)
        nursery.cancel_scope.cancel()


async def until(there: Callable[[], object]) -> None:
    """The journal writes in a thread, which no mock clock hurries."""
    for _ in range(500):
        if there():
            return
        await trio.to_thread.run_sync(time.sleep, 0.01)
    raise AssertionError("it never came")


async def settle() -> None:
    """Long enough for what would be sent at once."""
    for _ in range(20):
        await trio.to_thread.run_sync(time.sleep, 0.005)


async def test_a_confirmation_waits_for_company_and_then_goes_alone(tmp_path: Path, mock_clock: MockClock) -> None:
    async with open_desk(tmp_path, Chain()) as desk:
        desk.bring(7)
        await settle()
        mock_clock.jump(WAIT_S - 1)
        await settle()
        assert desk.chain.sent == []
        mock_clock.jump(2)
        await until(lambda: desk.told)
        assert (desk.chain.sent, desk.told) == ([("confirm:1", (7,))], {7: None})


async def test_a_full_batch_goes_at_once_and_the_rest_waits(tmp_path: Path, mock_clock: MockClock) -> None:
    async with open_desk(tmp_path, Chain()) as desk:
        desk.bring(1, 2, 3, 4)
        await until(lambda: len(desk.told) == 3)
        await settle()
        ((key, sales),) = desk.chain.sent
        assert (key, len(sales)) == ("confirm:1", 3)
        assert len(desk.told) == 3


async def test_a_near_deadline_is_not_waited_for(tmp_path: Path, mock_clock: MockClock) -> None:
    async with open_desk(tmp_path, Chain(), now=100) as desk:
        desk.bring(1, by=100)
        await until(lambda: desk.told == {1: None})


async def test_a_batch_in_doubt_is_taken_up_under_its_name_by_whichever_sale_asks_again(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    chain = Chain()
    chain.trouble += [StillPending("not mined yet"), StillPending("not mined yet")]
    async with open_desk(tmp_path, chain) as desk:
        desk.bring(1, 2, 3)
        await until(lambda: len(desk.told) == 3)
        assert all(isinstance(told, ev.Failed) and not told.certain for told in desk.told.values())
        desk.told.clear()
        desk.bring(1)
        await until(lambda: desk.told)
    async with open_desk(tmp_path, chain) as desk:  # after a restart too
        desk.bring(2)
        await until(lambda: desk.told == {2: None})
        assert [key for key, _ in chain.sent] == ["confirm:1"] * 3
        assert [set(sales) for _, sales in chain.sent] == [{1, 2, 3}] * 3


async def test_a_batch_that_was_never_sent_is_given_up_and_its_sales_go_into_a_new_one(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    chain = Chain()
    chain.trouble.append(InsufficientFunds("native", 0, 1, "0xSeller"))
    async with open_desk(tmp_path, chain) as desk:
        desk.bring(1, 2, 3)
        await until(lambda: len(desk.told) == 3)
        assert all(isinstance(told, ev.Failed) and told.certain for told in desk.told.values())
        desk.told.clear()
        desk.bring(1, 2, 3)
        await until(lambda: desk.told == {1: None, 2: None, 3: None})
        assert [key for key, _ in chain.sent] == ["confirm:1", "confirm:2"]
