"""Reputation: who sold, bought and lost disputes, counted from what the money contracts say."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.bindings.binding import Binding, View
from contracts.values import Call, Receipt


class Facts(View, frozen=True):
    """What was counted of one address; nobody had to be believed. `since` in UTC seconds, 0 for a stranger."""

    sold: int
    bought: int
    disputes_lost: int
    since: int
    sold_wei: int
    spent_wei: int


class Reputation(Binding):
    """Anyone may bring a fact; each is counted once."""

    def count_sales(self, sales: Sequence[int]) -> Call:
        """Paid or reclaimed sales; those not paid or counted before are skipped."""
        return self._call("countSales", list(sales))

    def count_fault(self, offer: int) -> Call:
        """An offer that was proved bad."""
        return self._call("countFault", offer)

    def count_lane(self, model_id: bytes, payer: str) -> Call:
        """What `payer` newly settled on a model's lane."""
        return self._call("countLane", model_id, payer)

    def counted_sales(self, receipt: Receipt) -> list[int]:
        """The sales that a `count_sales` transaction counted."""
        return [int(one["saleId"]) for one in receipt.events("SaleCounted", self.address)]

    async def facts(self, who: str) -> Facts:
        return await self._struct(Facts, "facts", who)

    async def is_sale_counted(self, sale: int) -> bool:
        return await self._flag("isSaleCounted", sale)

    async def is_fault_counted(self, offer: int) -> bool:
        return await self._flag("isFaultCounted", offer)

    async def lane_counted(self, model_id: bytes, payer: str) -> int:
        """Base units of a payer's settlements on a model's lane that are counted already."""
        return await self._whole("laneCounted", model_id, payer)
