"""RewardPool: pays for feedback, out of a grant, to people who really bought."""

from __future__ import annotations

from contracts.bindings.binding import Binding
from contracts.values import Call, Receipt


class RewardPool(Binding):
    """A reward stays below the fee that was burnt for the money it is about."""

    def reward_sale(self, sale: int, rating: int, item_hash: bytes) -> Call:
        """By the buyer of a paid sale, once; `rating` 1…5, `item_hash` the gossiped item's 32 bytes."""
        return self._call("rewardSale", sale, rating, item_hash)

    def reward_lane(self, model_id: bytes, rating: int, item_hash: bytes) -> Call:
        """By a payer with newly settled money on the model's lane."""
        return self._call("rewardLane", model_id, rating, item_hash)

    def rewarded(self, receipt: Receipt) -> int:
        """Base units that a rating earned; 0 when the budget was spent."""
        return sum(one["amount"] for one in receipt.events("Rewarded", self.address))

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
        """Base units that may still be rewarded."""
        return await self._whole("budget")

    async def owed(self) -> int:
        return await self._whole("owed")

    async def is_rated(self, sale: int) -> bool:
        return await self._flag("rated", sale)

    async def rated_up_to(self, model_id: bytes, payer: str) -> int:
        """How much of what a payer settled on a model's lane he has rated already, in base units."""
        return await self._whole("ratedUpTo", model_id, payer)
