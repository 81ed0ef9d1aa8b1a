"""Give and collect ratings: signed, gossiped, rewarded on chain, counted only when the chain knows their ticket.

    give     gossip -> journal -> RewardPool.rewardSale     for data: rewarded at once, the pool moves the price
             gossip -> journal                              for a model: an epoch's distributor counts it
    list     what was heard, each with whether its ticket is real

A reward stays below the fee that the rated payment burnt, so rating oneself costs more than it earns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from contracts.chain import Chain
from contracts.errors import Reverted
from node.feedback.errors import BadRating, NoTicket
from node.feedback.ports import Wallet
from node.feedback.tickets import Tickets
from node.journal.deals import Deals
from node.journal.feedback import FeedbackStore, Given
from node.market.catalog.catalog import Catalog, Listed
from node.market.gossip import Gossip
from node.market.kinds import Context
from node.wallet.transact import Transactor
from protocols.codec import decode, encode
from protocols.envelope import MAX_BODY_BYTES
from protocols.errors import Malformed
from protocols.feedback import rating as ratings
from protocols.feedback.rating import OUTCOMES, Rating
from protocols.inference.card import ModelCard
from protocols.offers.offer import Offer

log = structlog.get_logger(__name__)

PAID = frozenset({"settled", "reclaimed"})  # who took the held share back has paid, too, and has something to say


class RatingView(msgspec.Struct, frozen=True):
    """A rating as it is shown; `ticket_ok` says whether the chain confirms that its author paid."""

    feedback: str
    subject: str
    subject_kind: str
    rating: int
    comment: str
    outcome: str
    author: str
    ticket_ok: bool
    created_at: int


class Feedback:
    """One per node."""

    def __init__(
        self,
        *,
        wallet: Wallet,
        chain: Chain,
        transactor: Transactor,
        store: FeedbackStore,
        deals: Deals,
        catalog: Catalog,
        tickets: Tickets,
        gossip: Gossip,
        context: Context,
        clock: Callable[[], int],
    ) -> None:
        self._wallet = wallet
        self._chain = chain
        self._transactor = transactor
        self._store = store
        self._deals = deals
        self._catalog = catalog
        self._tickets = tickets
        self._gossip = gossip
        self._context = context
        self._clock = clock

    async def give(self, subject: str, receipt: str, rating: int, comment: str = "", outcome: str = "") -> Given:
        """Rate an offer (receipt: the deal) or a model (receipt: any call of it). Raises NoTicket, BadRating.

        What is rated is rewarded: data at once, a model by the next epoch's root (state `told`; `rewards.claim`).
        """
        self._transactor.require_unlocked()
        kind, domain, ticket = await self._ticket(subject, receipt)
        body = self._body(
            domain=domain,
            subject_kind=kind,
            subject=subject,
            ticket=ticket,
            rating=rating,
            comment=comment,
            outcome=outcome,
        )
        item = await self._gossip.announce(ratings.KIND, body, domain)
        given = Given(
            feedback=item.id,
            subject=subject,
            ticket=ticket,
            domain=domain,
            body=body,
            state="given",
            reward_wei="0",
            note="",
            created_at=self._clock(),
        )
        await self._store.begin(given)
        return await self._ask_reward(given)

    async def resume(self) -> None:
        """Ask for the rewards that a crash cut off."""
        for given in await self._store.unfinished():
            await self._ask_reward(given)

    async def list(self, subject: str | None = None) -> list[RatingView]:
        """The ratings heard so far, of one subject or of all."""
        heard = [one for one in self._catalog.every(Rating) if subject in (None, one.body.subject)]
        return [await self._view(one) for one in heard]

    async def _ticket(self, subject: str, receipt: str) -> tuple[str, str, str]:
        card = next((one.body for one in self._catalog.every(ModelCard) if one.body.model == subject), None)
        if card is not None:
            if not await self._tickets.settled(subject, self._wallet.address):
                raise NoTicket(f"no settled payment to model {subject} yet; its provider settles in batches")
            return "model", card.domain, subject
        deal = await self._deals.get(receipt)
        if deal is None or deal.role != "buyer" or deal.offer != subject or deal.state not in PAID:
            raise NoTicket(f"{receipt} is no settled purchase of {subject}")
        offer = self._catalog.get(subject, Offer)
        return "offer", offer.body.domain if offer else "general", deal.sale

    def _body(self, *, rating: int, outcome: str, **fields: Any) -> bytes:
        if outcome not in OUTCOMES:
            raise BadRating(f"outcome {outcome!r}: one of {', '.join(OUTCOMES[1:])} or none")
        now = self._clock()
        made = encode(
            Rating(
                network=self._context.network,
                chain_id=self._context.chain_id,
                rating=rating,
                outcome=outcome,
                created_at=now,
                **fields,
            )
        )
        try:
            decode(made, Rating, max_bytes=MAX_BODY_BYTES)
        except Malformed as err:
            raise BadRating(str(err)) from err
        return made

    async def _ask_reward(self, given: Given) -> Given:
        rating = decode(given.body, Rating, max_bytes=MAX_BODY_BYTES)
        if rating.subject_kind != "offer":
            await self._store.finish(given.feedback, "told", 0)
            return msgspec.structs.replace(given, state="told")
        call = self._chain.rewards.reward_sale(int(given.ticket), rating.rating, bytes.fromhex(given.feedback))
        try:
            receipt = await self._transactor.once(f"feedback:{given.feedback}", call)
        except Reverted as err:
            log.warning("the pool gave no reward", feedback=given.feedback, reason=err.name)
            await self._store.finish(given.feedback, "unrewarded", 0, err.name)
            return msgspec.structs.replace(given, state="unrewarded", note=err.name)
        reward = self._chain.rewards.rewarded(receipt)
        await self._store.finish(given.feedback, "rewarded", reward)
        return msgspec.structs.replace(given, state="rewarded", reward_wei=str(reward))

    async def _view(self, heard: Listed[Rating]) -> RatingView:
        body = heard.body
        return RatingView(
            feedback=heard.item.id,
            subject=body.subject,
            subject_kind=body.subject_kind,
            rating=body.rating,
            comment=body.comment,
            outcome=body.outcome,
            author=heard.item.signer,
            ticket_ok=await self._tickets.good(heard),
            created_at=body.created_at,
        )
