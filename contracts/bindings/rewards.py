"""RewardPool: pays for feedback, out of a grant, to people who really bought.

Sales are rewarded one by one, models' lanes by epochs that anybody with a stake proposes and anybody can refute. An
`Account` here is any object of the shape of `protocols.feedback.epoch.Account`: this package imports no protocol.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Protocol

from contracts.bindings.binding import Binding, View
from contracts.values import Call, Receipt


class EpochState(enum.IntEnum):
    """What became of a proposal."""

    NONE = 0
    PROPOSED = 1  # refutable until `ready_at`, then claimed from
    VOID = 2
    FINISHED = 3  # claimed from; the proposer's stake is free


class Epoch(View, frozen=True):
    """A proposal; `ready_at` in UTC seconds."""

    proposer: str
    ready_at: int
    state: int
    root: bytes
    total_wei: int


class Line(Protocol):
    """A model that a payer rated, and up to where his settled vouchers count, in base units."""

    @property
    def model_id(self) -> bytes: ...
    @property
    def up_to_wei(self) -> int: ...


class Account(Protocol):
    """One payer of a proposal."""

    @property
    def payer(self) -> str: ...
    @property
    def cumulative_wei(self) -> int: ...
    @property
    def delta_wei(self) -> int: ...
    @property
    def lines(self) -> Sequence[Line]: ...


class RewardPool(Binding):
    """A reward stays below the fee that was burnt for the money it is about."""

    def reward_sale(self, sale: int, rating: int, item_hash: bytes) -> Call:
        """By the buyer of a paid sale, once; `rating` 1…5, `item_hash` the gossiped item's 32 bytes."""
        return self._call("rewardSale", sale, rating, item_hash)

    def rewarded(self, receipt: Receipt) -> int:
        """Base units that a rating earned; 0 when the budget was spent."""
        return sum(one["amount"] for one in receipt.events("Rewarded", self.address))

    def propose(self, accounts: Sequence[Account], evidence: bytes) -> Call:
        """Accounts ascending by payer, lines by model; `evidence` the hash of the list of feedback items. Binds the
        proposer's stake.
        """
        return self._call("propose", [_packed(account) for account in accounts], evidence)

    def proposed(self, receipt: Receipt) -> int:
        """The epoch that a `propose` transaction made."""
        return int(self._emitted(receipt, "Proposed")["epoch"])

    def challenge(self, epoch: int, index: int, account: Account, proof: Sequence[bytes]) -> Call:
        """Refute a proposal by one of its accounts that counts what was never settled."""
        return self._call("challenge", epoch, index, _packed(account), list(proof))

    def claim(self, epoch: int, index: int, account: Account, lines_hash: bytes, proof: Sequence[bytes]) -> Call:
        """Credit an account; anyone may push it, after the window, once."""
        leaf = (index, account.payer, account.cumulative_wei, account.delta_wei, lines_hash)
        return self._call("claim", epoch, leaf, list(proof))

    def claimed_amount(self, receipt: Receipt) -> int:
        """Base units that the epoch claims of a transaction credited."""
        return sum(one["amount"] for one in receipt.events("Claimed", self.address))

    def finish(self, epoch: int) -> Call:
        """Free the proposer's stake after the window."""
        return self._call("finish", epoch)

    def withdraw(self) -> Call:
        return self._call("withdraw")

    def withdrawn(self, receipt: Receipt) -> int:
        """Base units that a withdrawal paid out."""
        return int(self._emitted(receipt, "Withdrawn")["amount"])

    def fund(self, amount_wei: int) -> Call:
        """Needs an allowance for the pool."""
        return self._call("fund", amount_wei)

    async def credit(self, account: str) -> int:
        return await self._whole("credit", account)

    async def budget(self) -> int:
        """Base units that may still be rewarded or promised."""
        return await self._whole("budget")

    async def owed(self) -> int:
        return await self._whole("owed")

    async def promised(self) -> int:
        """Base units of proposals that were not void, not yet claimed."""
        return await self._whole("promised")

    async def is_rated(self, sale: int) -> bool:
        return await self._flag("rated", sale)

    async def epoch_count(self) -> int:
        """The number of the newest proposal; they count from 1."""
        return await self._whole("epochCount")

    async def epoch(self, epoch: int) -> Epoch:
        return await self._struct(Epoch, "epochs", epoch)

    async def next_proposal_at(self) -> int:
        """UTC seconds."""
        return await self._whole("nextProposalAt")

    async def is_claimed(self, epoch: int, index: int) -> bool:
        return await self._flag("isClaimed", epoch, index)

    async def claimed(self, payer: str) -> int:
        """Base units that epochs have credited to a payer, ever."""
        return await self._whole("claimed", payer)

    async def beta_ppm(self) -> int:
        return await self._whole("betaPpm")

    async def alpha_ppm(self) -> int:
        """All rewards against all fees burnt."""
        return await self._whole("alphaPpm")

    async def proposer_stake(self) -> int:
        """Base units that a proposal binds."""
        return await self._whole("proposerStake")


def _packed(account: Account) -> tuple[Any, ...]:
    lines = [(line.model_id, line.up_to_wei) for line in account.lines]
    return (account.payer, account.cumulative_wei, account.delta_wei, lines)
