"""search: over this node and the most promising peers."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from node.market.search import Search
from node.rpc.method import Method
from node.rpc.values import Amount, Domain, Limit, Result, Text, shown

Peers = Annotated[int, Meta(ge=0, le=64)]


def methods(search: Search) -> list[Method]:
    """Run."""

    async def run(
        query: Text,
        domain: Domain | None = None,
        limit: Limit = 10,
        max_peers: Peers | None = None,
        budget: Amount = "0",
    ) -> Result:
        """Find records by meaning: own ones whole, those of peers as a preview with the offer that sells them.

        `budget` is the most that may be paid to peers that ask for it; 0 asks only those that answer for free.
        """
        return dict(shown(await search.run(query, domain=domain, limit=limit, max_peers=max_peers)))

    return [Method("search.run", run)]
