"""insights: what is wanted, what the own data earns and why."""

from __future__ import annotations

from node.insights.service import Insights
from node.rpc.method import Method
from node.rpc.values import Domain, Result, shown


def methods(insights: Insights) -> list[Method]:
    """Overview, demand, earnings, quality."""

    async def overview() -> Result:
        """Records, offers, demands, deals and earnings in one view."""
        return dict(shown(await insights.overview()))

    async def demand(domain: Domain | None = None) -> Result:
        """What is wanted, by domain: how many demands, at which prices, how many of them an own offer meets."""
        return dict(shown(await insights.demand(domain)))

    async def earnings() -> Result:
        """What was earned by sales, by feedback and by models: as publisher, for own datasets, by models made from own.

        Each dataset's weight stands beside its share by the registry's facts.
        """
        return dict(shown(await insights.earnings()))

    async def quality() -> Result:
        """The quality of the own records by domain, and what weighs it down."""
        return dict(shown(await insights.quality()))

    return [
        Method("insights.overview", overview),
        Method("insights.demand", demand),
        Method("insights.earnings", earnings),
        Method("insights.quality", quality),
    ]
