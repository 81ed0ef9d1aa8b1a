"""demands: what is wanted, as vectors; matched against offers all the time."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from node.market.catalog.catalog import Catalog, Listed
from node.market.demands import DemandDesk
from node.market.supply import SupplyDesk
from node.rpc.method import Method
from node.rpc.methods import offers
from node.rpc.methods.domains import LookInto
from node.rpc.values import Amount, Domain, Limit, Name, Result, Text, items, shown, when
from protocols.demand.demand import Demand


def methods(
    desk: DemandDesk, supply: SupplyDesk, catalog: Catalog, look_into: LookInto, whose: Callable[[], str]
) -> list[Method]:
    """Post, list, matches, withdraw."""

    def view(listed: Listed[Demand]) -> Result:
        body = shown({k: v for k, v in msgspec.structs.asdict(listed.body).items() if k not in ("v", "vector")})
        mine = listed.item.signer == whose()
        text = {"text": desk.text_of(listed.item.id)} if mine else {}
        return {"demand": listed.item.id, **body, "peer": listed.item.peer, "mine": mine, **text}

    async def post(text: Text, domain: Domain, max_price: Amount, until: Name | None = None) -> Result:
        """Say what you want; only the vector of the text leaves this node. `until` is a time, RFC 3339."""
        return view(await desk.post(text, domain, int(max_price), None if until is None else when(until, "until")))

    async def listed(domain: Domain | None = None, mine: bool | None = None, limit: Limit = 100) -> Result:
        """Open demands, newest first; a domain that is asked about is followed from then on."""
        if domain is not None:
            await look_into(domain)
        found = [view(one) for one in catalog.every(Demand) if domain in (None, one.body.domain)]
        chosen = [one for one in found if mine in (None, one["mine"])]
        return items(sorted(chosen, key=lambda one: str(one["created_at"]), reverse=True)[:limit])

    async def matches(demand: Name, limit: Limit = 20) -> Result:
        """The offers that meet a demand, best first; `own` is what this node has for it, also on no offer."""
        found = items([offers.view(one.offer, whose(), one.score) for one in (await desk.matches(demand))[:limit]])
        return {**found, "own": msgspec.to_builtins(await supply.of(desk.get(demand).body))}

    async def withdraw(demand: Name) -> Result:
        """Take an own demand back."""
        await desk.withdraw(demand)
        return {"demand": demand, "withdrawn": True}

    return [
        Method("demands.post", post),
        Method("demands.list", listed),
        Method("demands.matches", matches),
        Method("demands.withdraw", withdraw),
    ]
