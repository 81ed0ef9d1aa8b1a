"""offers: datasets for sale, ours and everybody's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from contracts.bindings.reputation import Facts
from node.embed import Embedder
from node.feedback.standing import Standings
from node.market.catalog.catalog import Catalog, Listed, Wanted
from node.market.draft import Filter
from node.market.offers import Offers
from node.market.sellers import Sellers
from node.rpc.errors import InvalidParams
from node.rpc.method import Method
from node.rpc.methods.domains import LookInto
from node.rpc.values import Amount, Domain, Limit, Name, Result, Text, page, shown
from protocols.offers.offer import Offer

NEAREST_MOST = 1_000  # of a query, when one pages through them
Parts = Annotated[int, Meta(ge=0, le=1_000_000)]


def methods(
    offers: Offers,
    catalog: Catalog,
    sellers: Sellers,
    standings: Standings,
    embedder: Embedder,
    look_into: LookInto,
    whose: Callable[[], str],
) -> list[Method]:
    """Publish, list, get, withdraw. `whose` is the own address, '' without a wallet."""

    async def publish(
        domain: Domain,
        title: Name,
        kind: Name = "records",
        filter: dict[str, Any] | None = None,
        floor: Amount = "0",
        licence: Name | None = None,
    ) -> Result:
        """Offer the own records of a domain for sale: seal, pin, register, quote, announce.

        `filter` has language, labels {name: value}, min_quality (ppm); `floor` is the lowest price.
        """
        listed = await offers.publish(
            domain, title, kind=kind, wanted=_filter(filter), floor_wei=int(floor), licence=licence
        )
        return view(listed, whose())

    async def listed(
        domain: Domain | None = None,
        mine: bool | None = None,
        query: Text | None = None,
        limit: Limit = 100,
        after: Name | None = None,
        licence: Name | None = None,
        max_price: Amount | None = None,
        min_quality: Parts | None = None,
    ) -> Result:
        """Open offers, newest first; with `query` the nearest in meaning first, less so of who lost disputes.

        What buyers say weighs in: five stars against one are worth a tenth of a score. Only ratings count whose ticket
        the chain confirms; `stars` is their mean, drawn towards 3 while they are few.

        `min_quality` is the overall quality (ppm). A domain that is asked about is followed from then on.
        """
        if domain is not None:
            await look_into(domain)
        own = whose()

        wanted = Wanted(
            domain=domain,
            licence=licence,
            max_price_wei=None if max_price is None else int(max_price),
            min_quality_ppm=min_quality,
            signer=own if mine else None,
            stranger=own if mine is False else None,
        )
        scores: dict[str, float] = {}
        if query is None:
            kept = await catalog.newest(limit + 1, wanted, after)
        else:
            (vector,) = await embedder.embed([query], query=True)
            count = limit + 1 if after is None else NEAREST_MOST
            near = await catalog.nearest(vector, embedder.model_id, count, wanted)
            scores = {
                one.item.id: score * sellers.weight(one.item.signer) * standings.weight(one.item.id)
                for one, score in near
            }
            found = [one for one, _ in near]
            found.sort(key=lambda one: (-scores[one.item.id], -one.body.created_at, one.item.id))
            kept = list(_behind(found, after))[: limit + 1]
        views = [
            {
                **view(one, whose(), scores.get(one.item.id)),
                **_record(sellers.known(one.item.signer)),
                **_rated(standings, one),
            }
            for one in kept
        ]
        return page(views, limit, "offer")

    async def get(offer: Name) -> Result:
        """One offer with the price that the chain quotes for its dataset now, and what it has counted of the seller."""
        found = offers.get(offer)
        record = _record(await sellers.look(found.item.signer))
        quote_wei = str(await offers.quote(offer))
        return {**view(found, whose()), "quote_wei": quote_wei, **record, **_rated(standings, found)}

    async def withdraw(offer: Name) -> Result:
        """Take an own offer off the market; sales that are open go on."""
        await offers.withdraw(offer)
        return {"offer": offer, "withdrawn": True}

    return [
        Method("offers.publish", publish, deadline_s=600),
        Method("offers.list", listed),
        Method("offers.get", get),
        Method("offers.withdraw", withdraw, deadline_s=300),
    ]


def view(listed: Listed[Offer], own: str, score: float | None = None) -> Result:
    """An offer as it is shown: everything but the sketch, and who stands behind it."""
    body = msgspec.structs.asdict(listed.body)
    shown_body = shown({key: value for key, value in body.items() if key not in ("v", "sketch")})
    who = {"peer": listed.item.peer, "seller": listed.item.signer, "mine": bool(own) and listed.item.signer == own}
    near = {} if score is None else {"score": round(float(score), 6)}
    return {"offer": listed.item.id, **shown_body, **who, **near}


def _record(facts: Facts | None) -> Result:
    """What the chain has counted of a seller; nothing when it was not read yet."""
    if facts is None:
        return {}
    counted = {"sold": facts.sold, "sold_wei": str(facts.sold_wei), "disputes_lost": facts.disputes_lost}
    return {"record": {**counted, "since_at": facts.since}}


def _rated(standings: Standings, listed: Listed[Offer]) -> Result:
    """What buyers say of an offer."""
    found = standings.of(listed.item.id)
    return {"stars": found.stars, "ratings": found.ratings}


def _behind(found: list[Listed[Offer]], after: str | None) -> Iterable[Listed[Offer]]:
    ids = [one.item.id for one in found]
    return found[ids.index(after) + 1 :] if after in ids else found  # type: ignore[arg-type]


def _filter(given: dict[str, Any] | None) -> Filter:
    try:
        return msgspec.convert(given or {}, Filter)
    except msgspec.ValidationError as err:
        raise InvalidParams(f"offers.publish: filter: {err}") from err
