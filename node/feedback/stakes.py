"""Money that stands surety: in the StakeVault, bound by a contract that may slash it, free again after a delay.

Publishing a model with data of others, doubting its weights, and proposing an epoch of rewards each bind a stake.
`cover` makes sure that it is there before the step that binds it.
"""

from __future__ import annotations

import os

import msgspec
import structlog
import trio

from contracts.chain import Chain
from node.feedback.ports import Wallet
from node.wallet.transact import Transactor

log = structlog.get_logger(__name__)


class StakeView(msgspec.Struct, frozen=True):
    """`free` may be bound or taken out; `bound` answers for something; `leaving` may be claimed from `leaving_at`."""

    free_wei: int
    bound_wei: int
    leaving_wei: int
    leaving_at: int
    tx: str


class Stakes:
    """One wallet's stake."""

    def __init__(self, *, wallet: Wallet, chain: Chain, transactor: Transactor) -> None:
        self._wallet = wallet
        self._chain = chain
        self._transactor = transactor
        self._turn = trio.Lock()

    async def stake(self, amount_wei: int) -> StakeView:
        """Put money in. Raises WalletLocked, InsufficientFunds."""
        self._transactor.require_unlocked()
        return await self._view(await self._put_in(f"stake:{os.urandom(8).hex()}", amount_wei))

    async def unstake(self, amount_wei: int) -> StakeView:
        """Take free money out; `rewards.claim` fetches it after the vault's delay. Raises WalletLocked, Reverted."""
        self._transactor.require_unlocked()
        receipt = await self._transactor.once(f"unstake:{os.urandom(8).hex()}", self._chain.stakes.unbond(amount_wei))
        return await self._view(receipt.hash)

    async def cover(self, need_wei: int) -> None:
        """Make sure that this much may be bound: put in what is missing. Raises WalletLocked, InsufficientFunds.

        The journal key names what the vault held before: a crash finds the same step, and the next need is a new one.
        """
        async with self._turn:
            account = await self._chain.stakes.account(self._wallet.address)
            if account.free_wei >= need_wei:
                return
            nonce = await self._chain.nonce(self._wallet.address, "latest")
            key = f"stake:cover:{account.free_wei}:{nonce}"
            await self._put_in(key, need_wei - account.free_wei)
            log.info("stake put in", amount_wei=need_wei - account.free_wei)

    async def leaving(self) -> int:
        """Base units that `withdraw` would pay now: what has unbonded, and what slashing others has earned."""
        account = await self._chain.stakes.account(self._wallet.address)
        ripe = account.leaving_wei if await self._chain.timestamp() >= account.ready_at else 0
        return ripe + await self._chain.stakes.credit(self._wallet.address)

    async def _put_in(self, key: str, amount_wei: int) -> str:
        await self._transactor.allow(self._chain.stakes.address, amount_wei)
        return (await self._transactor.once(key, self._chain.stakes.stake(amount_wei))).hash

    async def _view(self, tx: str) -> StakeView:
        stakes, me = self._chain.stakes, self._wallet.address
        account = await stakes.account(me)
        slashers = (self._chain.models.address, self._chain.rewards.address)
        bound = sum([await stakes.bound(me, slasher) for slasher in slashers])
        return StakeView(account.free_wei, bound, account.leaving_wei, account.ready_at, tx)
