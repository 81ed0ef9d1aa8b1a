"""Own and others' demands: a want becomes a signed vector; new offers are matched against own wants as they arrive."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import structlog

from node.embed import Embedder
from node.journal.demands import Demands as DemandStore
from node.market.catalog.catalog import Catalog, Listed
from node.market.errors import NotFound, NotMine
from node.market.gossip import Gossip
from node.market.kinds import Body, Context
from node.market.match import Match, Weigh, equal, meets, rank, terms
from node.market.noise import perturb
from node.market.ports import Events
from node.market.search.sketch import Vectors, closeness, dequantise, quantise
from protocols.codec import encode
from protocols.demand import demand as demands
from protocols.demand.demand import Demand
from protocols.ids import parse_domain
from protocols.offers import withdrawal as withdrawals
from protocols.offers.offer import Offer
from protocols.wei import parse_wei

log = structlog.get_logger(__name__)

MOST_MATCHES = 200
TOLD = 3  # of the offers that meet a demand when it is posted


class DemandDesk:
    """Post, list, match and withdraw demands."""

    def __init__(
        self,
        *,
        embedder: Embedder,
        store: DemandStore,
        catalog: Catalog,
        gossip: Gossip,
        context: Context,
        events: Events,
        clock: Callable[[], int],
        lifetime_s: int,
        epsilon: float = 0.0,
    ) -> None:
        self._embedder = embedder
        self._store = store
        self._catalog = catalog
        self._gossip = gossip
        self._context = context
        self._events = events
        self._clock = clock
        self._lifetime_s = lifetime_s
        self._epsilon = epsilon
        self._dice = random.SystemRandom()
        self._own: dict[str, str] = {}
        self._weigh: Weigh = equal
        gossip.on_item(self._match_new)

    async def load(self) -> None:
        """Remember the own open demands of earlier runs."""
        self._own = {row.demand: row.text for row in await self._store.all() if not row.withdrawn}

    async def post(self, text: str, domain: str, max_price_wei: int, until: int | None = None) -> Listed[Demand]:
        """Publish the embedding of a want, with noise; its text stays in the journal. `until` is UTC seconds.

        The nearest offers that are known already are told as events, as later ones will be. Raises RuleBroken,
        BadIdentifier, WalletLocked.
        """
        parse_domain(domain)
        parse_wei(str(max_price_wei))
        vector = perturb((await self._embedder.embed([text], query=True))[0], self._epsilon, self._dice)
        now = self._clock()
        body = Demand(
            network=self._context.network,
            chain_id=self._context.chain_id,
            domain=domain,
            vector=quantise(vector),
            model_id=self._embedder.model_id,
            max_price_wei=str(max_price_wei),
            created_at=now,
            expires_at=until or now + self._lifetime_s,
        )
        item = self._gossip.signed(demands.KIND, encode(body))
        await self._store.add(item.id, text, domain, max_price_wei, now)  # first: what is told must be ours to withdraw
        self._own[item.id] = text
        await self._gossip.retell(item.raw, demands.TOPIC, domain)
        for match in (await self.matches(item.id))[:TOLD]:
            self._tell(item.id, match)
        return Listed(item=item, body=body)

    async def wants(self, domain: str) -> Vectors | None:
        """The vectors of everybody's open wants of a domain, (n, dim); None when there are none."""
        found = [
            dequantise(listed.body.vector)
            for listed in self._catalog.every(Demand)
            if listed.body.domain == domain and listed.body.model_id == self._embedder.model_id
        ]
        return np.stack(found) if found else None

    def text_of(self, demand: str) -> str:
        """The text of an own want; '' for everybody else's."""
        return self._own.get(demand, "")

    def get(self, demand: str) -> Listed[Demand]:
        """A known open demand. Raises NotFound."""
        listed = self._catalog.get(demand, Demand)
        if listed is None:
            raise NotFound(f"demand {demand} is not known here, or is over")
        return listed

    async def matches(self, demand: str) -> list[Match]:
        """Of the known offers that meet a demand the nearest, best first. Raises NotFound."""
        wanted = self.get(demand).body
        near = await self._catalog.nearest(dequantise(wanted.vector), wanted.model_id, MOST_MATCHES, terms(wanted))
        return rank([Match(listed, score) for listed, score in near], self._weigh)

    def weigh_by(self, weigh: Weigh) -> None:
        """Let what buyers say of offers count in the order of matches."""
        self._weigh = weigh

    async def withdraw(self, demand: str) -> None:
        """Take an own demand back. Raises NotMine."""
        listed = self._catalog.get(demand, Demand)
        if demand not in self._own or listed is None:
            raise NotMine(f"demand {demand} was not posted by this node, or is over")
        notice = withdrawals.Withdrawal(
            network=self._context.network,
            chain_id=self._context.chain_id,
            domain=listed.body.domain,
            target=demand,
            at=self._clock(),
        )
        await self._gossip.announce(withdrawals.KIND, encode(notice), listed.body.domain)
        await self._store.withdraw(demand)
        del self._own[demand]

    def _match_new(self, listed: Listed[Body]) -> None:
        if not isinstance(listed.body, Offer):
            return
        for id in self._own:
            wanted = self._catalog.get(id, Demand)
            if wanted is not None and meets(wanted.body, listed.body):
                score = closeness(dequantise(wanted.body.vector), listed.body.sketch)
                self._tell(id, Match(Listed(item=listed.item, body=listed.body), score))

    def _tell(self, demand: str, match: Match) -> None:
        offer = match.offer.item.id
        log.info("an offer meets a demand", demand=demand, offer=offer, score=round(match.score, 4))
        self._events.publish("matches", {"demand": demand, "offer": offer, "score": match.score})
