"""deals: purchases and sales, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from node.rpc.method import Method
from node.rpc.values import Amount, Limit, Name, Result, items, shown

Cells = Annotated[int, Meta(ge=1, le=64)]
View = Mapping[str, Any] | msgspec.Struct


class Deals(Protocol):
    """What the exchange does for this noun; `view` and `sample` answer with JSON-like values."""

    async def sample(self, offer: str, cells: int | None) -> View: ...
    async def buy(self, offer: str, max_price_wei: int) -> str: ...
    async def view(self, deal: str) -> View: ...
    async def newest(self, limit: int) -> Sequence[View]: ...
    async def dispute(self, deal: str) -> None: ...


def methods(deals: Deals) -> list[Method]:
    """Sample, buy, get, list, dispute."""

    async def sample(offer: Name, cells: Cells | None = None) -> Result:
        """Have the seller open some cells before any money moves, and compare them with what the offer claims."""
        return dict(shown(await deals.sample(offer, cells)))

    async def buy(offer: Name, max_price: Amount) -> Result:
        """Begin a purchase; follow it by `deals.get` or topic `deals`. Never pays more than `max_price`."""
        return dict(shown(await deals.view(await deals.buy(offer, int(max_price)))))

    async def get(deal: Name) -> Result:
        """How a deal stands, with its steps and transactions."""
        return dict(shown(await deals.view(deal)))

    async def listed(limit: Limit = 100) -> Result:
        """Purchases and sales, newest first."""
        return items(await deals.newest(limit))

    async def dispute(deal: Name) -> Result:
        """Prove on chain that the seller's key or a cell was wrong."""
        await deals.dispute(deal)
        return dict(shown(await deals.view(deal)))

    return [
        Method("deals.sample", sample, deadline_s=120),
        Method("deals.buy", buy, deadline_s=120),
        Method("deals.get", get),
        Method("deals.list", listed),
        Method("deals.dispute", dispute, deadline_s=300),
    ]
