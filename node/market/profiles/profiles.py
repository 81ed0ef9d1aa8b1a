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

import msgspec
import structlog
import trio

from node.embed import Embedder
from node.journal.demands import Demands, OwnDemand
from node.journal.profiles import HISTORY_S, Consent, Edition, ProfileStore
from node.market.catalog.catalog import Catalog
from node.market.gossip import Gossip
from node.market.kinds import Context
from node.market.profiles.adverts import Adverts, sources_of
from node.market.profiles.making import FLOOR, Wanted, summarise
from node.market.search.sketch import Vectors, dequantise, quantise
from node.observe.events import EventBus
from protocols.codec import decode, encode
from protocols.ids import parse_domain
from protocols.profile.advert import SOURCES, Source, check_terms
from protocols.profile.messages import MAX_PROFILE_BYTES, Profile, Want, digest_of

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

DAY_S = 86_400
EDITION_S = DAY_S  # an edition costs its epsilon: a buyer of all of them gets one a day at most
WAITING = 256  # queries not yet noted; what comes on top is not kept


class _Material(msgspec.Struct, frozen=True):
    """What a profile is made of; `members` has 8 bytes for each want."""

    demands: list[OwnDemand]
    searches: list[bytes]
    calls: int
    members: set[bytes]


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
        self._events = events
        self._clock = clock
        self._dice = dice or random.SystemRandom()
        self._making = trio.Lock()
        self._adverts = Adverts(store, catalog, gossip, context, embedder.model_id, clock)
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
        check_terms(price_wei, chosen, epsilon)
        parse_domain(domain)
        async with self._making:
            given = await self._store.consent(domain, price_wei, chosen, epsilon, FLOOR, self._clock())
        log.info("a profile is for sale", domain=domain, sources=chosen, epsilon=epsilon)
        await self._adverts.tell()
        return await self._store.in_force(domain) or given

    async def stop(self, domain: str) -> bool:
        """Take the consent back: from the next moment on nothing of it is sold. Whether there was one."""
        async with self._making:
            ended = await self._store.revoke(domain, self._clock())
        log.info("a profile is not for sale any more", domain=domain)
        await self._adverts.tell()
        await self._store.scrub()
        return ended

    async def forget(self, domain: str | None = None) -> int:
        """Erase what was kept of searches and calls; a consent goes on, from nothing. How many rows were erased."""
        async with self._making:
            return await self._store.forget(domain)

    async def consents(self, domain: str | None = None) -> list[Consent]:
        """Every consent there ever was, newest first."""
        return await self._store.consents(domain)

    # --- history ---

    def searched(self, domain: str, vector: Vectors) -> None:
        """Somebody at this node searched. Never blocks; kept only where a consent says so."""
        try:
            self._send.send_nowait((domain, quantise(vector)))
        except trio.WouldBlock:
            log.debug("too much is asked at once, one query is not kept", domain=domain)

    async def noted(self, source: Source, domain: str, vector: bytes) -> bool:
        """Keep one query of a domain, if a consent in force says so."""
        if await self._store.in_force(domain) is None:  # as with most nodes: a read costs less than a write
            return False
        return await self._store.note(source, domain, self._embedder.model_id, vector, self._clock())

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the history and the adverts, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._adverts.renew)
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
            consent = await self._store.in_force(domain)
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
        material = await self._material(consent, now)
        changed = len((_split(newest.members) if newest else set()) ^ material.members)
        if changed < FLOOR and (newest is not None or not material.calls):
            return newest
        wants = summarise(await self._wanted(material), consent.epsilon, self._dice)
        if not wants and not material.calls:
            return newest
        made = self._made(consent, wants, material.calls, material.members, now)
        await self._store.put_edition(made)
        log.info("a profile was made", domain=consent.domain, centroids=len(wants))
        return made

    def _fits(self, edition: Edition) -> bool:
        """Whether it was made by the present embedder; nobody could compare another one's vectors."""
        return decode(edition.body, Profile, max_bytes=MAX_PROFILE_BYTES).model_id == self._embedder.model_id

    async def _material(self, consent: Consent, now: int) -> _Material:
        """What may be told, as it lies in the journal: nothing is embedded for a question that changes nothing."""
        since, domain, model = now - HISTORY_S, consent.domain, self._embedder.model_id
        demands = await self._demands.standing(domain, since) if "demands" in consent.sources else []
        searches = await self._store.past("searches", domain, model, since) if "searches" in consent.sources else []
        calls = len(await self._store.past("calls", domain, model, since)) if "calls" in consent.sources else 0
        return _Material(
            demands=demands,
            searches=[one.vector for one in searches],
            calls=calls if calls >= FLOOR else 0,
            members={_member(row.text.encode()) for row in demands} | {_member(one.vector) for one in searches},
        )

    async def _wanted(self, material: _Material) -> list[Wanted]:
        """The wants as vectors, with what their owner would pay."""
        wanted = [Wanted(dequantise(vector)) for vector in material.searches]
        if rows := material.demands:
            vectors = await self._embedder.embed([row.text for row in rows], query=True)
            wanted += [Wanted(vector, row.max_price_wei) for vector, row in zip(vectors, rows, strict=True)]
        return wanted

    def _made(self, consent: Consent, wants: list[Want], calls: int, members: set[bytes], now: int) -> Edition:
        body = encode(
            Profile(
                domain=consent.domain,
                model_id=self._embedder.model_id,
                sources=sources_of(consent),
                epsilon=consent.epsilon,
                floor=consent.floor,
                wants=wants,
                calls=calls,
                updated_at=now - now % DAY_S,
            )
        )
        return Edition(digest_of(body), consent.domain, body, b"".join(sorted(members)), now)


def _member(want: bytes) -> bytes:
    return hashlib.blake2b(want, digest_size=8).digest()


def _split(members: bytes) -> set[bytes]:
    return {members[at : at + 8] for at in range(0, len(members), 8)}
