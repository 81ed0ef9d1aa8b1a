"""What an owner wants to know, computed when he asks; nothing is stored."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np

from node.feedback.rewards import Owed
from node.journal.deals import Deals
from node.market.catalog.catalog import Catalog, Wanted
from node.market.match import terms
from node.shard import Filter, Shard
from protocols.demand.demand import Demand
from protocols.ids import Address
from protocols.quality import WEIGHTS
from protocols.wei import parse_wei

NEWEST_DEALS = 1_000
PAGE = 1_000


class Claimable(Protocol):
    """What the contracts owe this wallet."""

    async def list(self) -> list[Owed]: ...


class Earning(Protocol):
    """What the models owe this wallet, by role."""

    async def earnings(self) -> Sequence[msgspec.Struct]: ...


class Wallet(Protocol):
    """Whose figures these are; there may be no wallet yet."""

    @property
    def exists(self) -> bool: ...
    @property
    def address(self) -> Address: ...


class DemandFigure(msgspec.Struct, frozen=True):
    """The wants of one domain: how many, what they would pay, and how many a known or an own offer meets."""

    domain: str
    demands: int
    median_price_wei: str
    met: int
    met_by_own: int


class Insights:
    """Overview, demand, earnings, quality."""

    def __init__(
        self,
        *,
        shard: Shard,
        catalog: Catalog,
        deals: Deals,
        rewards: Claimable,
        models: Earning,
        wallet: Wallet,
    ) -> None:
        self._shard = shard
        self._catalog = catalog
        self._deals = deals
        self._rewards = rewards
        self._models = models
        self._wallet = wallet

    @property
    def _address(self) -> str:
        return self._wallet.address if self._wallet.exists else ""

    async def overview(self) -> dict[str, object]:
        """Records, offers, demands, deals and what can be claimed, in one view."""
        deals = await self._deals.newest(NEWEST_DEALS)
        return {
            "records": (await self._shard.stats()).records,
            "offers": self._catalog.count(),
            "own_offers": self._catalog.count(Wanted(signer=self._address)),
            "demands": sum(1 for _ in self._catalog.every(Demand)),
            "deals": dict(Counter(f"{deal.role} {deal.state}" for deal in deals)),
            "claimable": await self._rewards.list() if self._address else [],
        }

    async def demand(self, domain: str | None = None) -> dict[str, object]:
        """The wants by domain, the busiest first."""
        wants: dict[str, list[Demand]] = defaultdict(list)
        for listed in self._catalog.every(Demand):
            if domain in (None, listed.body.domain):
                wants[listed.body.domain].append(listed.body)
        figures = [self._figure(name, found) for name, found in wants.items()]
        return {"items": sorted(figures, key=lambda figure: -figure.demands), "next": None}

    def _figure(self, domain: str, wants: list[Demand]) -> DemandFigure:
        prices = sorted(parse_wei(want.max_price_wei) for want in wants)
        return DemandFigure(
            domain=domain,
            demands=len(wants),
            median_price_wei=str(prices[len(prices) // 2]),
            met=sum(self._catalog.count(terms(want)) > 0 for want in wants),
            met_by_own=sum(self._catalog.count(terms(want, signer=self._address)) > 0 for want in wants),
        )

    async def earnings(self) -> dict[str, object]:
        """What the contracts owe now by source, the sales that were paid, and every model with a part of ours:

        what it owes us as publisher, for our datasets and for models made from it, each dataset's weight beside its
        share by the registry's facts.
        """
        deals = await self._deals.newest(NEWEST_DEALS)
        paid = [deal for deal in deals if deal.role == "seller" and deal.state == "paid"]
        return {
            "claimable": await self._rewards.list() if self._address else [],
            "sales_paid": len(paid),
            "models": await self._models.earnings() if self._address else [],
        }

    async def quality(self) -> dict[str, object]:
        """The mean quality vector of the own records by domain, in ppm, and its weakest component."""
        rows: dict[str, list[list[int]]] = defaultdict(list)
        after = ""
        while page := await self._shard.list(Filter(origin="own"), limit=PAGE, after=after):
            for record in page:
                rows[record.domain].append([getattr(record.quality, name) for name in WEIGHTS])
            after = page[-1].id
        items = []
        for domain, values in sorted(rows.items()):
            means = dict(zip(WEIGHTS, np.mean(values, axis=0).astype(int).tolist(), strict=True))
            items.append(
                {"domain": domain, "records": len(values), **means, "weakest": min(means, key=means.__getitem__)}
            )
        return {"items": items, "next": None}
