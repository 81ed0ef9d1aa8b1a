"""profiles: what an owner wants, summed up and sold with his consent; and what producers learn from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from node.journal.profiles import Consent
from node.market.catalog.catalog import Catalog, Listed
from node.market.profiles.adverts import sellers
from node.market.profiles.desk import ProfileDesk
from node.market.profiles.profiles import Profiles
from node.market.profiles.serving import ProfileCounter
from node.rpc.errors import NotFound
from node.rpc.method import Method
from node.rpc.methods.domains import LookInto
from node.rpc.values import Amount, Domain, Limit, Result, items, shown
from protocols.codec import decode
from protocols.profile.advert import MAX_EPSILON, Advert, Source
from protocols.profile.messages import MAX_PROFILE_BYTES, Profile
from protocols.wei import parse_wei

DEADLINE_S = 120.0  # a query pays up to sixty-four sellers

Sources = Annotated[list[Source], Meta(min_length=1, max_length=3)]
Noise = Annotated[int, Meta(ge=0, le=MAX_EPSILON)]
Most = Annotated[int, Meta(ge=1, le=64)]
Least = Annotated[int, Meta(ge=0, le=1_000_000)]
QueryName = Annotated[str, Meta(max_length=64)]


def methods(
    profiles: Profiles,
    counter: ProfileCounter,
    desk: ProfileDesk,
    catalog: Catalog,
    look_into: LookInto,
    whose: Callable[[], str],
) -> list[Method]:
    """Sell, stop, show, forget; list, query."""

    def view(listed: Listed[Advert]) -> Result:
        hidden, item = ("v", "network", "chain_id"), listed.item
        body = shown({k: v for k, v in msgspec.structs.asdict(listed.body).items() if k not in hidden})
        return {
            "profile": item.id,
            **body,
            "seller": item.signer,
            "peer": item.peer,
            "mine": item.signer == whose(),
        }

    async def sell(domain: Domain, price: Amount, sources: Sources | None = None, epsilon: Noise = 0) -> Result:
        """Consent to sell what you want in a domain, summed up, to anybody who pays `price`; `profiles.stop` ends it.

        `sources`: your demands (the default), `searches` that name the domain and how often you use its models
        (`calls`); the last two are remembered from now on, as vectors. Never a text, and nothing that fewer than five
        wants stand behind. `epsilon` adds noise to each want, 0 none, and the less it is the more is hidden: the table
        of tests/bench/profiles.py has what it hides and costs. Whoever bought a profile can hand it on.
        """
        consent = await profiles.sell(domain, parse_wei(price), sources or ["demands"], epsilon)
        return _consent(consent)

    async def stop(domain: Domain) -> Result:
        """Take the consent back: from now on nothing of it is sold, and what was remembered for it is erased.

        What was sold stays with its buyers.
        """
        return {"domain": domain, "stopped": await profiles.stop(domain)}

    async def show(domain: Domain) -> Result:
        """What a buyer sees, to the byte; how often it was sold; every consent you gave, with its time and terms."""
        consents = await profiles.consents(domain)
        if not consents:
            raise NotFound(f"you never consented to sell a profile of {domain}; nothing of it is told")
        terms = await profiles.terms(domain)
        times, earned_wei = await counter.sold(domain)
        return {
            "domain": domain,
            "on_sale": terms is not None,
            "profile": None if terms is None else _profile(terms[1].body),
            "made_at": None if terms is None else shown(terms[1].made_at, "made_at"),
            "sold": times,
            "earned_wei": str(earned_wei),
            "consents": [_consent(one) for one in consents],
        }

    async def forget(domain: Domain | None = None) -> Result:
        """Erase what was remembered of searches and calls, of a domain or of all, from the disk too.

        A consent goes on, from nothing; demands are taken back by `demands.withdraw`.
        """
        return {"forgotten": await profiles.forget(domain)}

    async def listed(domain: Domain | None = None, mine: bool | None = None, limit: Limit = 100) -> Result:
        """Who sells his profile, the cheapest first; a domain that is asked about is followed from then on."""
        if domain is not None:
            await look_into(domain)
        chosen = [one for one in map(view, sellers(catalog, domain)) if mine in (None, one["mine"])]
        return items(chosen[:limit])

    async def query(
        domain: Domain, budget: Amount = "0", max_sellers: Most = 16, min_wants: Least = 0, query: QueryName = ""
    ) -> Result:
        """Buy profiles for at most `budget`, and see what is wanted, by how many, and what of it you could serve.

        `records` of your own are near a want, `unoffered` of them on no offer, `nearest` is one to look at. Without a
        budget only what was bought before is shown. Asked again with the same `query`, nothing is paid twice.
        """
        await look_into(domain)
        asked = await desk.query(domain, parse_wei(budget), max_sellers=max_sellers, least=min_wants, query=query)
        rows = [{**msgspec.structs.asdict(need), **msgspec.structs.asdict(need.supply)} for need in asked.items]
        told = {key: value for key, value in shown(asked).items() if key not in ("items", "paid_wei")}
        found = items([{key: value for key, value in row.items() if key != "supply"} for row in rows])
        return {**found, **told, "paid": str(asked.paid_wei)}

    return [
        Method("profiles.sell", sell),
        Method("profiles.stop", stop),
        Method("profiles.show", show),
        Method("profiles.forget", forget),
        Method("profiles.list", listed),
        Method("profiles.query", query, deadline_s=DEADLINE_S),
    ]


def _consent(consent: Consent) -> Result:
    whole = shown({k: v for k, v in msgspec.structs.asdict(consent).items() if k not in ("consent", "advert")})
    return {**whole, "advertised": bool(consent.advert)}


def _profile(body: bytes) -> Result:
    """Everything that stands in it, the vectors too."""
    profile = decode(body, Profile, max_bytes=MAX_PROFILE_BYTES)
    wants = [{**shown(want), "vector": "0x" + want.vector.hex()} for want in profile.wants]
    return {**shown(profile), "wants": wants}
