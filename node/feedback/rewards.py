"""What the contracts owe this wallet, and fetching it: sale proceeds, feedback rewards, shares of models' revenue.

Some of it takes two steps: a bond becomes credit of the sales, an epoch's reward credit of the feedback, a parent's
share revenue of the parent. So those are claimed first, and what they became after them.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Sequence
from typing import Protocol

import msgspec

from contracts.bindings.sale import OfferStatus
from contracts.chain import Chain, Receipt
from node.feedback.epochs import Epochs
from node.feedback.ports import Wallet
from node.feedback.stakes import Stakes
from node.journal.publications import Publications
from node.wallet.transact import Transactor

BOND = "bond:"
PARENT = "parent:"


class Counter(Protocol):
    """Tells the chain's Reputation of the sales that earned."""

    async def count_sales(self) -> int: ...


class Claims(Protocol):
    """Shares of models' revenue, found and claimed by the models' room."""

    async def claimable(self) -> Sequence[Owed]: ...
    async def claim(self, source: str) -> Receipt: ...


class Owed(msgspec.Struct, frozen=True):
    """`source` is `sales`, `feedback` (credit of the pool), `epochs` (rewards for rating models, not credited yet),
    `stake` (unbonded, or won), `bond:<number of a closed offer>`, `model:<id>` (all our datasets in a model),
    `publisher:<id>`, or `parent:<id>`: what that model has for its parent, ours, before the parent's own split.
    """

    source: str
    amount_wei: str


class Held(msgspec.Struct, frozen=True):
    """The share of an own offer's paid prices that the contract holds until buyers have looked; all of it is ripe at
    `ripens_at` (UTC seconds) at the latest, unless a fault is proved before.
    """

    offer_no: int
    amount_wei: str
    ripens_at: int


class Claimed(msgspec.Struct, frozen=True):
    """One transaction that fetched something."""

    source: str
    amount_wei: str
    tx: str


class Rewards:
    """Lists and claims."""

    def __init__(
        self,
        *,
        wallet: Wallet,
        chain: Chain,
        transactor: Transactor,
        publications: Publications,
        models: Claims,
        epochs: Epochs,
        stakes: Stakes,
        standing: Counter,
    ) -> None:
        self._wallet = wallet
        self._chain = chain
        self._transactor = transactor
        self._publications = publications
        self._models = models
        self._epochs = epochs
        self._stakes = stakes
        self._standing = standing

    async def list(self) -> list[Owed]:
        """What could be claimed now; sources that owe nothing are left out."""
        earned = [await self._chain.sale.earned(number) for number in await self._numbers()]
        sales = await self._chain.sale.credit(self._wallet.address) + sum(earned)
        feedback = await self._chain.rewards.credit(self._wallet.address)
        stake = await self._stakes.leaving()
        direct = [Owed("sales", str(sales)), Owed("feedback", str(feedback)), Owed("stake", str(stake))]
        found = (*await self._bonds(), *await self._of_epochs(), *direct, *await self._models.claimable())
        return [owed for owed in found if owed.amount_wei != "0"]

    async def claim(self) -> builtins.list[Claimed]:
        """Claim everything. A crash between the transactions leaves the rest for the next call: pull payments wait."""
        self._transactor.require_unlocked()
        parents = [owed for owed in await self._models.claimable() if owed.source.startswith(PARENT)]
        first = [owed for owed in (*await self._bonds(), *parents) if owed.amount_wei != "0"]
        done = [await self._claim(owed) for owed in first] + await self._claim_epochs()
        done += [await self._claim(owed) for owed in await self.list()]
        if any(claimed.source == "sales" for claimed in done):
            await self._standing.count_sales()
        return done

    async def held(self) -> builtins.list[Held]:
        """What the sales have earned and the contract still holds, by offer."""
        amounts = {number: await self._chain.sale.held(number) for number in await self._numbers()}
        if not any(amounts.values()):
            return []
        window_s = await self._chain.sale.feedback_window()
        ripe = (await self._chain.timestamp() // window_s + 2) * window_s  # KeySale: held for one to two windows
        return [Held(number, str(amount), ripe) for number, amount in amounts.items() if amount]

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

    async def _of_epochs(self) -> builtins.list[Owed]:
        await self._epochs.read()
        found = await self._epochs.claimable(self._wallet.address)
        return [Owed("epochs", str(sum(one.amount_wei for one in found)))] if found else []

    async def _claim_epochs(self) -> builtins.list[Claimed]:
        """One transaction an epoch, the first one first: the contract pays what is above all claims before."""
        pool, done = self._chain.rewards, []
        await self._epochs.read()
        for one in await self._epochs.claimable(self._wallet.address):
            call = pool.claim(one.epoch, one.index, one.account, one.lines_hash, one.proof)
            receipt = await self._transactor.once(f"rewards:claim:{one.epoch}:{one.index}", call)
            done.append(Claimed("epochs", str(pool.claimed_amount(receipt)), receipt.hash))
        return done

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
        elif owed.source == "stake":
            receipt = await self._transactor.once(key, self._chain.stakes.withdraw())
        else:
            receipt = await self._models.claim(owed.source)
        return Claimed(source=owed.source, amount_wei=owed.amount_wei, tx=receipt.hash)
