"""search: over this node and the most promising peers."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from node.market.search.search import Search
from node.rpc.method import Method
from node.rpc.methods.domains import LookInto
from node.rpc.values import Amount, Domain, Limit, Result, Text, shown
from protocols.wei import parse_wei

Peers = Annotated[int, Meta(ge=0, le=64)]
Token = Annotated[str, Meta(max_length=64)]


def methods(search: Search, look_into: LookInto) -> list[Method]:
    """Run."""

    async def run(
        query: Text,
        domain: Domain | None = None,
        limit: Limit = 10,
        max_peers: Peers | None = None,
        budget: Amount = "0",
        progress: Token = "",
    ) -> Result:
        """Find records by meaning: own ones whole, those of peers as a preview with the offer that sells them.

        `budget` is the most that may be paid for previews that cost; without it such hits come with their score only.
        With a `progress` token the hits are told as they come, as events of the topic `search` that carry it. A domain
        that is asked about is followed from then on.
        """
        if domain is not None:
            await look_into(domain)
        found = await search.run(
            query,
            domain=domain,
            limit=limit,
            max_peers=max_peers,
            budget_wei=parse_wei(budget),
            progress=progress,
        )
        return dict(shown(found))

    return [Method("search.run", run)]
