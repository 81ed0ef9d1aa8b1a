"""One purchase of a profile at one seller, and what an earlier one left open; see `profiles_buying`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from node.embed import Embedder
from node.journal.profile_purchases import ProfilePurchases, Purchase
from node.journal.vouchers import Promise
from node.market.catalog.catalog import Listed
from node.market.ports import Wire
from protocols.codec import decode, encode
from protocols.errors import RuleBroken
from protocols.ids import Address, PeerId
from protocols.profile.advert import Advert
from protocols.profile.messages import (
    LANE,
    MAX_REPLY_BYTES,
    PROTOCOL,
    Payment,
    ProfileReply,
    ProfileRequest,
    ProfileTerms,
    digest_of,
    read_profile,
    size,
)
from protocols.voucher import Voucher
from protocols.wei import parse_wei

TIMEOUT_S = 5.0
FRESH_S = 86_400  # an honest seller has one edition a day; who shows another one every hour is not paid every hour
HELD_S = 30 * 86_400  # a profile that was bought longer ago says little of today's wants


class Purse(Protocol):
    """The payer's side of vouchers. What signs may raise WalletError."""

    async def every(self) -> Sequence[Promise]:
        """The newest voucher of each lane."""
        ...

    async def pay(self, payee: Address, lane: int, price_wei: int) -> Voucher:
        """A voucher for one more purchase, on top of what the chain has paid on the lane too."""
        ...

    async def promise(self, payee: Address, lane: int, cumulative_wei: int) -> Voucher:
        """A voucher up to this sum, journalled; the newest one when the sum is not above it."""
        ...

    async def received(self, payee: Address, lane: int) -> None:
        """What was paid for has come."""
        ...

    async def adopt(self, voucher: Voucher, served_wei: int) -> int:
        """Take up a voucher of ours that the journal has lost. Raises WalletError or ProtocolError."""
        ...


class Unshown(Exception):
    """The seller holds our money for a profile that he does not show, or sells none; the message says which."""


class _Unpaid(Unshown):
    """He says that he has not charged for it, and we hold him to that."""


class Bill(msgspec.Struct):
    """What one call has signed for one seller, in base units."""

    signed_wei: int = 0


class Checkout:
    """Buys from one seller."""

    def __init__(
        self, embedder: Embedder, store: ProfilePurchases, purse: Purse, wire: Wire, clock: Callable[[], int]
    ) -> None:
        self._embedder = embedder
        self._store = store
        self._purse = purse
        self._wire = wire
        self._clock = clock

    async def buy(self, listed: Listed[Advert], query: str, least: int, bill: Bill) -> str:
        """Buy from one seller, one purchase at a time; "bought" or "held". What is signed is added to the `bill`.

        Raises Unshown, NetworkError, ProtocolError or WalletError.
        """
        domain, seller = listed.body.domain, listed.item.signer
        last = await self._store.last(seller)
        if last is not None and await self._finish(listed.item.peer, last, bill) and last.domain == domain:
            return "bought"
        purchase = purchase_id(query, seller, domain)
        known = await self._store.get(purchase)
        held = next(
            (one for one in await self._store.held(domain, self._clock() - HELD_S) if one.payee == seller), None
        )
        if (known is not None and known.state == "came") or (held is not None and self._clock() - held.at < FRESH_S):
            return "held"
        terms = await self._quote(listed, least)
        if held is not None and held.digest == terms.digest:
            return "held"
        new = Purchase(
            purchase=purchase,
            query=query,
            payee=seller,
            peer=listed.item.peer,
            domain=domain,
            digest=terms.digest,
            cost_wei=parse_wei(terms.price_wei),
            state="open",
            body=None,
            at=self._clock(),
        )
        await self._store.begin(new)
        profile = await self._pay(new, new.peer, bill)
        await self._keep(new, profile, quoted=terms.wants)
        return "bought"

    async def _quote(self, listed: Listed[Advert], least: int) -> ProfileTerms:
        """What he asks now. Raises Unshown when it is not what he advertised."""
        reply = await self._ask(listed.item.peer, ProfileRequest(domain=listed.body.domain))
        terms = reply.terms
        if terms is None:
            raise Unshown(reply.refused or "no terms came")
        if terms.payee != listed.item.signer:
            raise RuleBroken("the terms name another payee than the advert's signer")
        if parse_wei(terms.price_wei) > parse_wei(listed.body.price_wei):
            raise RuleBroken(f"{terms.price_wei} wei are asked, {listed.body.price_wei} wei were advertised")
        if terms.wants < least:
            raise Unshown(f"a profile of {terms.wants} wants, {least} were asked for; nothing was paid")
        return terms

    async def _finish(self, peer: PeerId, last: Purchase, bill: Bill) -> bool:
        """Ask for what an earlier call left open; whether it came now. False: he has charged nothing for it.

        Raises Unshown while he says that he has served it and does not show it.
        """
        if last.state == "came":
            await self._purse.received(Address(last.payee), LANE)  # a crash may have come between the two
        if last.state != "open":
            return False
        promised_wei, received_wei = await self._lane(Address(last.payee))
        if promised_wei < received_wei + last.cost_wei:  # cut off before anything was signed
            await self._store.drop(last.purchase)
            return False
        try:
            profile = await self._pay(last, peer, bill)
        except _Unpaid:
            return False
        await self._keep(last, profile, quoted=None)
        return True

    async def _pay(self, one: Purchase, peer: str, bill: Bill) -> bytes:
        """Sign what is not signed yet, and ask. Raises Unshown, or _Unpaid when nothing was charged."""
        payee = Address(one.payee)
        voucher = await self._sign(payee, one.cost_wei, bill)
        reply = await self._ask(PeerId(peer), _request(one, voucher))
        held = reply.terms.held if reply.terms is not None and not reply.profile else None
        if reply.terms is not None and held is not None and held.cumulative > voucher.cumulative:
            # our journal is younger than what he shows
            await self._purse.adopt(held, parse_wei(reply.terms.served_wei))
            voucher = await self._purse.promise(payee, LANE, 0)
            reply = await self._ask(PeerId(peer), _request(one, voucher))
            if not reply.profile:
                voucher = await self._sign(payee, one.cost_wei, bill)
                reply = await self._ask(PeerId(peer), _request(one, voucher))
        if reply.profile:
            return reply.profile
        if reply.terms is not None and parse_wei(reply.terms.served_wei) <= voucher.cumulative - one.cost_wei:
            await self._store.drop(one.purchase)
            raise _Unpaid(reply.refused or "nothing came, and nothing was charged")
        raise Unshown(f"paid for and not shown: {reply.refused or 'an empty answer'}")

    async def _sign(self, payee: Address, cost_wei: int, bill: Bill) -> Voucher:
        """A voucher that is worth `cost_wei` more than what was answered; what is outstanding counts."""
        promised_wei, received_wei = await self._lane(payee)
        if promised_wei == received_wei:
            voucher = await self._purse.pay(payee, LANE, cost_wei)
            bill.signed_wei += cost_wei
        else:
            voucher = await self._purse.promise(payee, LANE, received_wei + cost_wei)
            bill.signed_wei += max(0, voucher.cumulative - promised_wei)
        return voucher

    async def _keep(self, one: Purchase, data: bytes, *, quoted: int | None) -> None:
        """Check and keep. Raises RuleBroken or Malformed: the purchase stays open, nothing more is signed for him.

        `quoted` is the size that was promised just now; what is asked for again may have changed meanwhile.
        """
        profile = read_profile(
            data, domain=one.domain, model_id=self._embedder.model_id, dim=self._embedder.dim, now=self._clock()
        )
        if quoted is not None and (digest_of(data), size(profile)) != (one.digest, quoted):
            raise RuleBroken("not the profile that was quoted")
        await self._store.came(one.purchase, data)
        await self._purse.received(Address(one.payee), LANE)

    async def _lane(self, payee: Address) -> tuple[int, int]:
        """What was promised to a seller so far, and what of it was answered, in base units."""
        for one in await self._purse.every():
            if (one.payee, one.lane) == (payee, LANE):
                return one.cumulative_wei, one.received_wei
        return 0, 0

    async def _ask(self, peer: PeerId, request: ProfileRequest) -> ProfileReply:
        raw = await self._wire.request(
            peer, PROTOCOL, encode(request), timeout_s=TIMEOUT_S, max_reply_bytes=MAX_REPLY_BYTES
        )
        return decode(raw, ProfileReply, max_bytes=MAX_REPLY_BYTES)


def purchase_id(query: str, seller: Address, domain: str) -> bytes:
    """16 bytes: the same query id, seller and domain are the same purchase, however often it is asked for."""
    return hashlib.sha256(f"{query}\0{seller}\0{domain}".encode()).digest()[:16]


def _request(one: Purchase, voucher: Voucher) -> ProfileRequest:
    return ProfileRequest(domain=one.domain, payment=Payment(query=one.purchase, digest=one.digest, voucher=voucher))
