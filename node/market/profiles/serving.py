"""The seller's side of `/schwung/profile/1`: terms for nothing, the profile for a voucher.

The money goes the way of every metered use: the voucher is checked, covered and journalled by the till, the purchase is
charged once in the journal, then answered. What was charged and lost on the way is answered again for nothing, a few
times. A question costs us two reads: the profile is made at most once a day, however many ask.
"""

from __future__ import annotations

import structlog

from node.journal.profile_sales import ProfileSales, Sale
from node.journal.profiles import Consent, Edition
from node.market.ports import Events, Signer, Wire
from node.market.profiles.profiles import Profiles
from node.market.search.answering import Till
from node.wallet.errors import NoCover, Outdated, VoucherError, WalletError
from protocols.codec import decode, encode
from protocols.errors import ProtocolError
from protocols.ids import PeerId, parse_address
from protocols.profile.messages import (
    LANE,
    MAX_PROFILE_BYTES,
    MAX_REQUEST_BYTES,
    PROTOCOL,
    Payment,
    Profile,
    ProfileReply,
    ProfileRequest,
    ProfileTerms,
    size,
)
from protocols.voucher import Voucher

log = structlog.get_logger(__name__)

CONCURRENCY = 4
NOT_SOLD = "no profile of that domain is sold here"
REFUSALS = {
    "unpaid": "the voucher does not cover the profile",
    "over": NOT_SOLD,
    "stale": "the profile has changed since it was quoted: ask for the terms again; nothing was charged",
    "conflict": "that query id was used for another purchase",
    "worn_out": "that purchase was answered often enough",
}


class ProfileCounter:
    """Sells this node's profiles to whoever pays for them."""

    def __init__(
        self, *, profiles: Profiles, sales: ProfileSales, wire: Wire, signer: Signer, till: Till, events: Events
    ) -> None:
        self._profiles = profiles
        self._sales = sales
        self._wire = wire
        self._signer = signer
        self._till = till
        self._events = events

    async def sold(self, domain: str) -> tuple[int, int]:
        """How often the profile of a domain was sold, and for how much altogether, in base units."""
        return await self._sales.sold(domain)

    def serve(self) -> None:
        """Answer from now on."""
        self._wire.serve(PROTOCOL, self._answer, max_request_bytes=MAX_REQUEST_BYTES, concurrency=CONCURRENCY)

    async def _answer(self, peer: PeerId, body: bytes) -> bytes:
        request = decode(body, ProfileRequest, max_bytes=MAX_REQUEST_BYTES)
        found = await self._profiles.terms(request.domain)
        if found is None:
            return encode(ProfileReply(refused=NOT_SOLD))
        consent, edition = found
        if request.payment is None:
            return encode(ProfileReply(terms=self._terms(consent, edition)))
        return encode(await self._sell(peer, request.payment, consent, edition))

    async def _sell(self, peer: PeerId, payment: Payment, consent: Consent, newest: Edition) -> ProfileReply:
        voucher = payment.voucher
        try:
            payer = parse_address(voucher.payer)
            paid_wei = await self._till.accept(voucher, payee=self._signer.address, lane=LANE)
        except (VoucherError, ProtocolError) as err:
            if not isinstance(err, Outdated | NoCover):  # it may not be his: nothing is told of his account
                return ProfileReply(refused=str(err)[:200])
            held = err.held if isinstance(err, Outdated) else None
            return await self._refuse(payer, str(err), consent, newest, held)
        except WalletError as err:  # the chain or our own wallet, not the payer's fault
            return ProfileReply(refused=str(err)[:200])
        sale = Sale(
            payer=payer,
            query=payment.query,
            peer=peer,
            domain=consent.domain,
            digest=payment.digest,
            cost_wei=consent.price_wei,
        )
        outcome = await self._sales.charge(sale, paid_wei=paid_wei, now=self._profiles.now)
        if outcome not in ("charged", "repeat"):
            return await self._refuse(payer, REFUSALS[outcome], consent, newest)
        if outcome == "charged":
            log.info("a profile was sold", domain=sale.domain, payer=payer)
            what: dict[str, object] = {
                "state": "sold",
                "domain": sale.domain,
                "payer": payer,
                "price_wei": str(sale.cost_wei),
            }
            self._events.publish("profiles", what)
        wanted = await self._profiles.quoted(sale.domain, sale.digest)
        return ProfileReply(profile=(wanted or newest).body)

    async def _refuse(
        self, payer: str, why: str, consent: Consent, edition: Edition, held: Voucher | None = None
    ) -> ProfileReply:
        served_wei = await self._sales.served(payer)
        return ProfileReply(refused=why[:200], terms=self._terms(consent, edition, served_wei, held))

    def _terms(
        self, consent: Consent, edition: Edition, served_wei: int = 0, held: Voucher | None = None
    ) -> ProfileTerms:
        profile = decode(edition.body, Profile, max_bytes=MAX_PROFILE_BYTES)
        return ProfileTerms(
            payee=self._signer.address,
            price_wei=str(consent.price_wei),
            digest=edition.digest,
            wants=size(profile),
            served_wei=str(served_wei),
            held=held,
        )
