"""An owner's profiles: what he consents to sell of his wants, the history that this takes, and the editions sold.

    sell(domain, price, sources, epsilon)    consent, journalled with its time and terms; an advert in the catalogue
    noted(…)                                 what was asked is kept, as a vector, while a consent says so
    edition(domain)                          the profile as everybody gets it: made once, journalled, then sold
    stop(domain)                             nothing is sold any more; history and editions are dropped at once

Nothing is sold without a consent, and none is given by default. Between two editions of a domain lie a day and FLOOR
wants that came or went: who buys both must not see a single want as their difference, and noise drawn anew at each
purchase would be averaged away.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog
import trio

from node.embed import Embedder
from node.identity.errors import NoWallet, WalletLocked
from node.journal.demands import Demands
from node.journal.profiles import HISTORY_S, Consent, Edition, ProfileStore
from node.market.catalog import Catalog, Listed
from node.market.errors import CatalogFull
from node.market.gossip import Gossip
from node.market.kinds import Context
from node.market.profiles_making import FLOOR, Wanted, summarise
from node.market.sketch import Vectors, dequantise, quantise
from node.network.errors import NetworkError
from node.observe.events import EventBus
from protocols.codec import decode, encode
from protocols.ids import parse_domain
from protocols.offers import withdrawal as withdrawals
from protocols.profile import advert as adverts
from protocols.profile.advert import SOURCES, Advert, Source
from protocols.profile.messages import MAX_PROFILE_BYTES, Profile, Want, digest_of
from protocols.wei import parse_wei

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

DAY_S = 86_400
EDITION_S = DAY_S  # an edition costs its epsilon: a buyer of all of them gets one a day at most
LIFETIME_S = 30 * DAY_S  # of an advert; renewed when half of it is over
RENEW_S = 600.0
WAITING = 256  # queries not yet noted; what comes on top is not kept
UNSAID = (WalletLocked, NoWallet, NetworkError, CatalogFull)  # told later, by `serve`


class Profiles:
    """What one owner sells of his wants; run `serve` in the node's nursery."""

    def __init__(
        self,
        *,
        embedder: Embedder,
        store: ProfileStore,
        demands: Demands,
        catalog: Catalog,
        gossip: Gossip,
        context: Context,
        events: EventBus,
        clock: Callable[[], int],
        dice: random.Random | None = None,
    ) -> None:
        self._embedder = embedder
        self._store = store
        self._demands = demands
        self._catalog = catalog
        self._gossip = gossip
        self._context = context
        self._events = events
        self._clock = clock
        self._dice = dice or random.SystemRandom()
        self._making = trio.Lock()
        self._telling = trio.Lock()
        self._send, self._searches = trio.open_memory_channel[tuple[str, bytes]](WAITING)

    @property
    def now(self) -> int:
        """UTC seconds."""
        return self._clock()

    # --- consent ---

    async def sell(self, domain: str, price_wei: int, sources: Sequence[Source], epsilon: int) -> Consent:
        """Consent to sell the profile of a domain, to anybody, on these terms; it holds until `stop`.

        Raises BadIdentifier, RuleBroken. A locked wallet advertises it when it is unlocked.
        """
        chosen = [source for source in SOURCES if source in sources]
        adverts.check_terms(price_wei, chosen, epsilon)
        parse_domain(domain)
        async with self._making:
            given = await self._store.consent(domain, price_wei, chosen, epsilon, FLOOR, self._clock())
        log.info("a profile is for sale", domain=domain, sources=chosen, epsilon=epsilon)
        await self._tell_all()
        return await self._consent(domain) or given

    async def stop(self, domain: str) -> bool:
        """Take the consent back: from the next moment on nothing of it is sold. Whether there was one."""
        async with self._making:
            ended = await self._store.revoke(domain, self._clock())
        log.info("a profile is not for sale any more", domain=domain)
        await self._tell_all()
        await self._store.scrub()
        return ended

    async def forget(self, domain: str | None = None) -> int:
        """Erase what was kept of searches and calls; a consent goes on, from nothing. How many rows were erased."""
        async with self._making:
            return await self._store.forget(domain)

    async def consents(self, domain: str | None = None) -> list[Consent]:
        """Every consent there ever was, newest first."""
        return await self._store.consents(domain)

    async def sold(self, domain: str) -> tuple[int, int]:
        """How often the profile of a domain was sold, and for how much altogether, in base units."""
        return await self._store.sold(domain)

    async def _consent(self, domain: str) -> Consent | None:
        return next((one for one in await self._store.consents(domain) if not one.ended_at), None)

    # --- history ---

    def searched(self, domain: str, vector: Vectors) -> None:
        """Somebody at this node searched. Never blocks; kept only where a consent says so."""
        try:
            self._send.send_nowait((domain, quantise(vector)))
        except trio.WouldBlock:
            log.debug("too much is asked at once, one query is not kept", domain=domain)

    async def noted(self, source: Source, domain: str, vector: bytes) -> bool:
        """Keep one query of a domain, if a consent in force says so."""
        if (
            await self._consent(domain) is None
        ):  # so it is with most nodes: reading is cheaper than a write that finds out
            return False
        return await self._store.note(source, domain, self._embedder.model_id, vector, self._clock())

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the history and the adverts, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew)
            nursery.start_soon(self._count_calls)
            task_status.started()
            async for domain, vector in self._searches:
                await self.noted("searches", domain, vector)

    async def _count_calls(self) -> None:
        """That a model of a domain was used; of what it was asked, nothing."""
        with self._events.subscribe(["models"]) as events:
            async for event in events:
                if event.data.get("state") == "called":
                    await self.noted("calls", str(event.data.get("domain", "")), b"")

    # --- editions ---

    async def terms(self, domain: str) -> tuple[Consent, Edition] | None:
        """What is sold and for how much; None without a consent, or while there is too little to tell."""
        async with self._making:
            consent = await self._consent(domain)
            if consent is None:
                return None
            edition = await self._edition(consent)
        return None if edition is None else (consent, edition)

    async def quoted(self, domain: str, digest: bytes) -> Edition | None:
        """An edition that was quoted lately, while it is kept."""
        return next((one for one in await self._store.editions(domain) if one.digest == digest), None)

    async def _edition(self, consent: Consent) -> Edition | None:
        now = self._clock()
        newest = next(iter(await self._store.editions(consent.domain)), None)
        if newest is not None and not self._fits(newest):
            newest = None
        if newest is not None and now - newest.made_at < EDITION_S:
            return newest
        members, wanted, calls = await self._material(consent, now)
        if newest is not None and len(_split(newest.members) ^ members) < FLOOR:
            return newest
        wants = summarise(wanted, consent.epsilon, self._dice)
        if not wants and not calls:
            return newest
        made = self._made(consent, wants, calls, members, now)
        await self._store.put_edition(made)
        log.info("a profile was made", domain=consent.domain, centroids=len(wants))
        return made

    def _fits(self, edition: Edition) -> bool:
        """Whether it was made by the present embedder; nobody could compare another one's vectors."""
        return decode(edition.body, Profile, max_bytes=MAX_PROFILE_BYTES).model_id == self._embedder.model_id

    async def _material(self, consent: Consent, now: int) -> tuple[set[bytes], list[Wanted], int]:
        """The wants that may be told: what stands for each in `members`, the wants, the calls of models."""
        since, domain, model = now - HISTORY_S, consent.domain, self._embedder.model_id
        members: set[bytes] = set()
        wanted: list[Wanted] = []
        if "demands" in consent.sources and (rows := await self._demands.standing(domain, since)):
            vectors = await self._embedder.embed([row.text for row in rows], query=True)
            members |= {_member(row.text.encode()) for row in rows}
            wanted += [Wanted(vector, row.max_price_wei) for vector, row in zip(vectors, rows, strict=True)]
        if "searches" in consent.sources:
            past = await self._store.past("searches", domain, model, since)
            members |= {_member(one.vector) for one in past}
            wanted += [Wanted(dequantise(one.vector)) for one in past]
        calls = len(await self._store.past("calls", domain, model, since)) if "calls" in consent.sources else 0
        return members, wanted, calls if calls >= FLOOR else 0

    def _made(self, consent: Consent, wants: list[Want], calls: int, members: set[bytes], now: int) -> Edition:
        body = encode(
            Profile(
                domain=consent.domain,
                model_id=self._embedder.model_id,
                sources=_sources(consent),
                epsilon=consent.epsilon,
                floor=consent.floor,
                wants=wants,
                calls=calls,
                updated_at=now - now % DAY_S,
            )
        )
        return Edition(digest_of(body), consent.domain, body, b"".join(sorted(members)), now)

    # --- adverts ---

    async def _renew(self) -> None:
        while True:
            await self._tell_all()
            await trio.sleep(RENEW_S)

    async def _tell_all(self) -> None:
        """Advertise what is consented to, take back what is not; what cannot be signed now is told later."""
        async with self._telling:
            try:
                for consent in reversed(await self._store.consents()):
                    if consent.ended_at:
                        await self._take_back(consent)
                    else:
                        await self._advertise(consent)
            except UNSAID as err:
                log.info("a profile's advert waits", reason=str(err))

    async def _advertise(self, consent: Consent) -> None:
        now = self._clock()
        known = self._catalog.get(consent.advert, Advert)
        if known is not None and known.body.expires_at - now > LIFETIME_S // 2:
            return
        body = Advert(
            network=self._context.network,
            chain_id=self._context.chain_id,
            domain=consent.domain,
            model_id=self._embedder.model_id,
            price_wei=str(consent.price_wei),
            sources=_sources(consent),
            epsilon=consent.epsilon,
            floor=consent.floor,
            created_at=now,
            expires_at=now + LIFETIME_S,
        )
        item = await self._gossip.announce(adverts.KIND, encode(body), consent.domain)
        await self._store.advertised(consent.consent, item.id)

    async def _take_back(self, consent: Consent) -> None:
        """A consent under other terms has superseded the advert; one that ended for good is withdrawn."""
        if not consent.advert:
            return
        if self._catalog.get(consent.advert, Advert) is not None and await self._consent(consent.domain) is None:
            notice = withdrawals.Withdrawal(
                network=self._context.network,
                chain_id=self._context.chain_id,
                domain=consent.domain,
                target=consent.advert,
                at=self._clock(),
            )
            await self._gossip.announce(withdrawals.KIND, encode(notice), consent.domain)
        await self._store.advertised(consent.consent, "")


def sellers(catalog: Catalog, domain: str | None = None) -> list[Listed[Advert]]:
    """Who sells a profile, the cheapest first."""
    found = [listed for listed in catalog.every(Advert) if domain in (None, listed.body.domain)]
    return sorted(found, key=lambda listed: (parse_wei(listed.body.price_wei), listed.item.id))


def _sources(consent: Consent) -> list[Source]:
    return [source for source in SOURCES if source in consent.sources]


def _member(want: bytes) -> bytes:
    return hashlib.blake2b(want, digest_size=8).digest()


def _split(members: bytes) -> set[bytes]:
    return {members[at : at + 8] for at in range(0, len(members), 8)}
