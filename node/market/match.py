"""Who has what somebody wants: demands against offers, by vector, price and domain. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from node.market.catalog import Listed
from node.market.sketch import closeness, dequantise
from protocols.demand.demand import Demand
from protocols.offers.offer import Offer
from protocols.wei import parse_wei

Weigh = Callable[[str], float]  # an offer's id to what its score is multiplied by


class Match(msgspec.Struct, frozen=True):
    """An offer that meets a demand; `score` is the cosine of the demand and the offer's nearest centroid."""

    offer: Listed[Offer]
    score: float


def meets(demand: Demand, offer: Offer) -> bool:
    """Same domain, same embedding space, affordable."""
    return (
        demand.domain == offer.domain
        and demand.model_id == offer.model_id
        and parse_wei(offer.price_wei) <= parse_wei(demand.max_price_wei)
    )


def equal(offer: str) -> float:
    """Nobody has rated anything."""
    return 1.0


def rank(demand: Demand, offers: Iterable[Listed[Offer]], weigh: Weigh = equal) -> list[Match]:
    """The offers that meet a demand, best first: by score, weighed by what buyers say of them; equals by price."""
    vector = dequantise(demand.vector)
    found = [Match(listed, closeness(vector, listed.body.sketch)) for listed in offers if meets(demand, listed.body)]
    return sorted(found, key=lambda m: (-m.score * weigh(m.offer.item.id), parse_wei(m.offer.body.price_wei)))
