"""StakeVault: stakes of publishers of weights, their challengers and proposers of rewards."""

from __future__ import annotations

from contracts.bindings.binding import Binding, View
from contracts.values import Call, Receipt


class Stake(View, frozen=True):
    """`free_wei` can be bound or unbonded; `leaving_wei` is paid from `ready_at` (UTC seconds) on."""

    free_wei: int
    leaving_wei: int
    ready_at: int


class StakeVault(Binding):
    """The registry of models and the reward pool bind what a publish, challenge or proposal puts at stake."""

    def stake(self, amount_wei: int) -> Call:
        """Needs an allowance for the vault."""
        return self._call("stake", amount_wei)

    def unbond(self, amount_wei: int) -> Call:
        """Take a part out; `withdraw` pays it after the delay, which a further `unbond` begins anew for all of it."""
        return self._call("unbond", amount_wei)

    def withdraw(self) -> Call:
        """What has unbonded, and what slashing others earned."""
        return self._call("withdraw")

    def withdrawn(self, receipt: Receipt) -> int:
        """Base units that a withdrawal paid out."""
        return int(self._emitted(receipt, "Withdrawn")["amount"])

    async def account(self, who: str) -> Stake:
        return await self._struct(Stake, "accounts", who)

    async def available(self, who: str) -> int:
        """Base units that can be bound now."""
        return await self._whole("available", who)

    async def bound(self, who: str, slasher: str) -> int:
        """Base units that one contract holds bound."""
        return await self._whole("bound", who, slasher)

    async def credit(self, who: str) -> int:
        """Base units earned by slashing others, not yet withdrawn."""
        return await self._whole("credit", who)

    async def unbonding_delay(self) -> int:
        """Seconds."""
        return await self._whole("unbondingDelay")
