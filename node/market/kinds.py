"""The kinds of items a catalogue holds: how each is read, how long it lives and on which topic it travels.

A new kind of item is one line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import msgspec

from protocols.demand import demand as demands
from protocols.demand.demand import Demand
from protocols.envelope import Item
from protocols.feedback import rating as ratings
from protocols.feedback.rating import Rating
from protocols.inference import card as cards
from protocols.inference.card import ModelCard
from protocols.offers import offer as offers
from protocols.offers import withdrawal as withdrawals
from protocols.offers.offer import MAX_CLOCK_SKEW_S, MAX_LIFETIME_S, Centroid, Offer
from protocols.offers.withdrawal import Withdrawal
from protocols.profile import advert as adverts
from protocols.profile.advert import Advert

Body = Offer | Demand | ModelCard | Rating | Withdrawal | Advert

TOPICS = ("offers", "demands", "models", "feedback")


class Facts(Offer, frozen=True, kw_only=True):
    """An offer without its sketch, nine tenths of it: what listings, filters and purchases need at hand."""

    sketch: list[Centroid] = []


class Context(msgspec.Struct, frozen=True):
    """Where an item must belong: promises made for another network or chain cannot be enforced here."""

    network: str
    chain_id: int


class Kind(msgspec.Struct, frozen=True):
    """How the catalogue treats one kind of item. Of a signer's items with the same `subject` only the newest counts."""

    type: type[Any]
    read: Callable[[Item, Context, int], Body]
    expires_at: Callable[[Any], int]
    topic: str
    subject: Callable[[Any], Hashable] | None = None
    made_at: Callable[[Any], int] = lambda body: int(body.created_at)


def _read(reader: Callable[..., Body]) -> Callable[[Item, Context, int], Body]:
    return lambda item, at, now: reader(item, network=at.network, chain_id=at.chain_id, now=now)


KINDS: dict[str, Kind] = {
    offers.KIND: Kind(
        Offer, _read(offers.read_offer), lambda body: int(body.expires_at), "offers", lambda body: body.offer_no
    ),
    demands.KIND: Kind(Demand, _read(demands.read_demand), lambda body: int(body.expires_at), "demands"),
    adverts.KIND: Kind(
        Advert, _read(adverts.read_advert), lambda body: int(body.expires_at), "demands", lambda body: body.domain
    ),
    cards.KIND: Kind(
        ModelCard, _read(cards.read_card), lambda body: int(body.expires_at), "models", lambda body: body.model
    ),
    # the chain counts the first rating of a ticket, so a later one does not take its place
    ratings.KIND: Kind(
        Rating, _read(ratings.read_rating), lambda body: int(body.created_at) + MAX_LIFETIME_S, "feedback"
    ),
    # kept as long as the longest-lived item it could take back, whose clock may have been ahead
    withdrawals.KIND: Kind(
        Withdrawal,
        _read(withdrawals.read_withdrawal),
        lambda body: int(body.at) + MAX_LIFETIME_S + MAX_CLOCK_SKEW_S,
        "offers",
        lambda body: body.target,
        lambda body: int(body.at),
    ),
}
