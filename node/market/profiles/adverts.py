"""The adverts of an owner's profiles, kept in step with his consents.

A consent holds and ends by the journal alone, whether the wallet is locked or not; its advert is signed, renewed and
taken back as soon as the wallet and the network allow.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from node.identity.errors import NoWallet, WalletLocked
from node.journal.profiles import Consent, ProfileStore
from node.market.catalog.catalog import Catalog, Listed
from node.market.errors import CatalogFull
from node.market.gossip import Gossip
from node.market.kinds import Context
from node.network.errors import NetworkError
from protocols.codec import encode
from protocols.offers import withdrawal as withdrawals
from protocols.profile import advert as adverts
from protocols.profile.advert import SOURCES, Advert, Source
from protocols.wei import parse_wei

log = structlog.get_logger(__name__)

LIFETIME_S = 30 * 86_400  # renewed when half of it is over
RENEW_S = 600.0
UNSAID = (WalletLocked, NoWallet, NetworkError, CatalogFull)  # told later, by `renew`


class Adverts:
    """Tells of consents; run `renew` in a nursery."""

    def __init__(
        self,
        store: ProfileStore,
        catalog: Catalog,
        gossip: Gossip,
        context: Context,
        model_id: str,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._gossip = gossip
        self._context = context
        self._model_id = model_id
        self._clock = clock
        self._telling = trio.Lock()

    async def renew(self) -> None:
        """Tell again and again, until cancelled."""
        while True:
            await self.tell()
            await trio.sleep(RENEW_S)

    async def tell(self) -> None:
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
            model_id=self._model_id,
            price_wei=str(consent.price_wei),
            sources=sources_of(consent),
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
        if self._catalog.get(consent.advert, Advert) is not None and not await self._store.in_force(consent.domain):
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


def sources_of(consent: Consent) -> list[Source]:
    """What a consent names, in the order of the messages."""
    return [source for source in SOURCES if source in consent.sources]
