"""What the contracts owe this wallet, and fetching it: sale proceeds, feedback rewards, shares of models' revenue."""

from __future__ import annotations

import builtins
import os
from collections.abc import Sequence
from typing import Protocol

import msgspec

from contracts.bindings.sale import OfferStatus
from contracts.chain import Chain, Receipt
from node.journal.publications import Publications
from node.wallet.transact import Transactor
from protocols.ids import Address

BOND = "bond:"


class Wallet(Protocol):
    """Whose rewards these are."""

    @property
    def address(self) -> Address: ...


class Claims(Protocol):
    """Shares of models' revenue, found and claimed by the models' room."""

    async def claimable(self) -> Sequence[Owed]: ...
    async def claim(self, source: str) -> Receipt: ...


class Owed(msgspec.Struct, frozen=True):
    """`source` is `sales`, `feedback`, `bond:<number of a closed offer>` or `model:<id>`."""

    source: str
    amount_wei: str


class Claimed(msgspec.Struct, frozen=True):
    """One transaction that fetched something."""

    source: str
    amount_wei: str
    tx: str


class Rewards:
    """Lists and claims."""

    def __init__(
        self, *, wallet: Wallet, chain: Chain, transactor: Transactor, publications: Publications, models: Claims
    ) -> None:
        self._wallet = wallet
        self._chain = chain
        self._transactor = transactor
        self._publications = publications
        self._models = models

    async def list(self) -> list[Owed]:
        """What could be claimed now; sources that owe nothing are left out."""
        earned = [await self._chain.sale.earned(number) for number in await self._numbers()]
        sales = await self._chain.sale.credit(self._wallet.address) + sum(earned)
        feedback = await self._chain.rewards.credit(self._wallet.address)
        direct = [Owed("sales", str(sales)), Owed("feedback", str(feedback))]
        found = (*await self._bonds(), *direct, *await self._models.claimable())
        return [owed for owed in found if owed.amount_wei != "0"]

    async def claim(self) -> builtins.list[Claimed]:
        """Claim everything. A crash between the transactions leaves the rest for the next call: pull payments wait."""
        self._transactor.require_unlocked()
        # a bond becomes credit, which `sales` then fetches
        bonds = [await self._claim(owed) for owed in await self._bonds()]
        return bonds + [await self._claim(owed) for owed in await self.list()]

    async def _bonds(self) -> builtins.list[Owed]:
        """The bonds of closed offers that may leave: no sale is open and the time to look at the last one is over."""
        closed = [row.offer_no for row in await self._publications.all() if row.state == "withdrawn" and row.offer_no]
        now, window_s = await self._chain.timestamp(), await self._chain.sale.bond_window() if closed else 0
        found = []
        for number in closed:
            terms = await self._chain.sale.offer_terms(number)
            if terms.status == OfferStatus.CLOSED and not terms.open and now > terms.closed_at + window_s:
                found.append(Owed(f"{BOND}{number}", str(terms.bond_wei)))
        return [owed for owed in found if owed.amount_wei != "0"]

    async def _numbers(self) -> builtins.list[int]:
        return [row.offer_no for row in await self._publications.all() if row.offer_no]

    async def _claim(self, owed: Owed) -> Claimed:
        # Claiming twice pays nothing twice (the contracts keep the books), so the outbox key may be fresh each time.
        key = f"claim:{owed.source}:{os.urandom(8).hex()}"
        if owed.source == "sales":
            numbers = await self._numbers()
            receipt = await self._transactor.once(key, self._chain.sale.collect_and_withdraw(numbers))
        elif owed.source.startswith(BOND):
            number = int(owed.source.removeprefix(BOND))
            receipt = await self._transactor.once(f"bond:{number}", self._chain.sale.take_bond(number))
        elif owed.source == "feedback":
            receipt = await self._transactor.once(key, self._chain.rewards.withdraw())
        else:
            receipt = await self._models.claim(owed.source)
        return Claimed(source=owed.source, amount_wei=owed.amount_wei, tx=receipt.hash)
