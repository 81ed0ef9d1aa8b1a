"""What a producer does with profiles: buy them within a budget, see what is wanted, and what of it he could serve.

    adverts ── cheapest first, by what they were worth so far ── bought ── one map ── held against the own shard

A profile cannot be checked: a vector says what its seller says. What limits a liar is the price of one profile, one
voice in the map whatever he claims, and trust: his profile is compared with what he asks for in public, and who was
caught comes later in the order of buying and weighs less in the map. There is no other remedy.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Protocol

import msgspec
import structlog
import trio

from contracts.bindings.reputation import Facts
from node.market.catalog.catalog import Catalog, Listed
from node.market.ports import Events, Wire
from node.market.profiles.adverts import sellers
from node.market.profiles.buying import Outcome, ProfileBuyer
from node.market.profiles.map import Cluster, Told, invented, nearness, singles, want_map
from node.market.search.sketch import Vectors, dequantise
from node.market.search.trust import Trust
from node.market.supply import COUNTED, Measured, Supply, SupplyDesk
from protocols.codec import decode
from protocols.demand.demand import Demand
from protocols.errors import ProtocolError
from protocols.ids import Address, PeerId, parse_domain
from protocols.profile.advert import Advert
from protocols.profile.messages import MAX_PROFILE_BYTES, Profile
from protocols.wei import parse_wei

log = structlog.get_logger(__name__)

MOST_SELLERS = 64
MOST_SHOWN = 64  # clusters held against the own shard; each costs a search of it


class Known(Protocol):
    """What the chain has counted of an address."""

    async def look(self, seller: str) -> Facts | None: ...


class Need(msgspec.Struct, frozen=True):
    """One cluster of want, and what this node holds for it: records near it, those on no offer, the best cosine."""

    weight: float
    wants: int
    consumers: int
    proven: int
    max_price_wei: int
    supply: Supply


class Asked(msgspec.Struct, frozen=True):
    """The map of a domain. `query` names the call: with it again, nothing is bought that it bought before."""

    query: str
    items: list[Need]
    sellers: list[Outcome]
    profiles: int
    copies: int
    calls: int
    paid_wei: int


class ProfileDesk:
    """Queries profiles of others."""

    def __init__(
        self,
        *,
        buyer: ProfileBuyer,
        catalog: Catalog,
        supply: SupplyDesk,
        known: Known,
        wire: Wire,
        events: Events,
        model_id: str,
    ) -> None:
        self._buyer = buyer
        self._catalog = catalog
        self._supply = supply
        self._known = known
        self._wire = wire
        self._events = events
        self._model_id = model_id
        self._trust = Trust()

    async def query(
        self, domain: str, budget_wei: int, *, max_sellers: int = 16, least: int = 0, query: str = ""
    ) -> Asked:
        """Buy profiles of a domain for at most `budget_wei`, and draw the map of all that are held.

        With no budget, only the map. Raises BadIdentifier.
        """
        parse_domain(domain)
        query = query or secrets.token_hex(16)
        outcomes = await self._buyer.buy(self._chosen(domain)[:max_sellers], query, budget_wei, least=least)
        told = await self._told(domain)
        self._judge(domain, told, {one.peer for one in outcomes if one.state == "bought"})
        measured = await self._supply.measured(domain)
        clusters = want_map(told, measured, trust=self._trust.factors, proven=await self._proven(told))
        measured = measured.against([cluster.mean for cluster in clusters])
        asked = Asked(
            query=query,
            items=[await self._need(domain, cluster, measured) for cluster in clusters[:MOST_SHOWN]],
            sellers=outcomes,
            profiles=len(told),
            copies=len(told) - len(singles(told)),
            calls=sum(one.profile.calls for one in told),
            paid_wei=sum(one.paid_wei for one in outcomes),
        )
        self._tell(domain, asked)
        return asked

    def _chosen(self, domain: str) -> list[Listed[Advert]]:
        """Whom to ask, the best bargain first: price by what his profiles were worth so far."""
        others = [
            listed
            for listed in sellers(self._catalog, domain)
            if listed.item.peer != self._wire.peer_id and listed.body.model_id == self._model_id
        ]
        trust = self._trust.factors
        return sorted(others, key=lambda one: parse_wei(one.body.price_wei) / trust.get(one.item.peer, 1.0))

    async def _told(self, domain: str) -> list[Told]:
        told = []
        for one in await self._buyer.held(domain):
            try:
                profile = decode(one.body or b"", Profile, max_bytes=MAX_PROFILE_BYTES)
            except ProtocolError as err:
                log.warning("a kept profile cannot be read", peer=one.peer, reason=str(err))
                continue
            if profile.model_id == self._model_id:
                told.append(Told(Address(one.payee), PeerId(one.peer), profile))
        return told

    def _judge(self, domain: str, told: Sequence[Told], bought: set[PeerId]) -> None:
        """Compare what just came with what its sellers ask for in public."""
        for one in told:
            if one.peer not in bought or "demands" not in one.profile.sources:
                continue
            public = self._public(domain, one.consumer)
            others = [nearness(other, public) for other in told if other.consumer != one.consumer] if public else []
            if others and invented(one, public, sum(others) / len(others)):
                log.warning("a profile has nothing to do with what its seller asks for", peer=one.peer)
                self._trust.lied(one.peer)

    def _public(self, domain: str, consumer: Address) -> list[Vectors]:
        """The open demands of a wallet."""
        return [
            dequantise(listed.body.vector)
            for listed in self._catalog.every(Demand)
            if listed.item.signer == consumer and (listed.body.domain, listed.body.model_id) == (domain, self._model_id)
        ]

    async def _proven(self, told: Sequence[Told]) -> set[Address]:
        """Those of whom the chain says that they have spent money."""
        proven: set[Address] = set()

        async def look(consumer: Address) -> None:
            facts = await self._known.look(consumer)
            if facts is not None and facts.spent_wei > 0:
                proven.add(consumer)

        async with trio.open_nursery() as nursery:
            for one in told:
                nursery.start_soon(look, one.consumer)
        return proven

    async def _need(self, domain: str, cluster: Cluster, measured: Measured) -> Need:
        least = measured.bar(cluster.focus)
        return Need(
            weight=round(cluster.weight, 3),
            wants=cluster.wants,
            consumers=cluster.consumers,
            proven=cluster.proven,
            max_price_wei=cluster.max_price_wei,
            supply=await self._supply.near(cluster.mean, domain, least, COUNTED),
        )

    def _tell(self, domain: str, asked: Asked) -> None:
        self._events.publish(
            "profiles",
            {
                "state": "queried",
                "query": asked.query,
                "domain": domain,
                "profiles": asked.profiles,
                "paid_wei": str(asked.paid_wei),
                "wants": len(asked.items),
                "unoffered": sum(need.supply.unoffered for need in asked.items),
            },
        )
