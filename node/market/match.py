"""Who has what somebody wants: demands against offers, by vector, price and domain. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from node.market.catalog.catalog import Listed, Wanted
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


def terms(demand: Demand, signer: str | None = None) -> Wanted:
    """What `meets` asks for, as the catalogue is asked; of all offers, or of one signer's."""
    price_wei = parse_wei(demand.max_price_wei)
    return Wanted(domain=demand.domain, model_id=demand.model_id, max_price_wei=price_wei, signer=signer)


def rank(found: Iterable[Match], weigh: Weigh = equal) -> list[Match]:
    """Matches, best first: by score, weighed by what buyers say of the offers; equals by price."""
    return sorted(found, key=lambda m: (-m.score * weigh(m.offer.item.id), parse_wei(m.offer.body.price_wei)))
