"""Has the author of a rating really paid? The chain says so: a paid sale, or money settled on the model's lane.

What was settled stays settled, so a good ticket is remembered; a missing one is looked for again.
"""

from __future__ import annotations

from contracts.chain import Chain
from node.market.catalog.catalog import Catalog, Listed
from protocols.feedback.rating import Rating
from protocols.offers.offer import Offer

REMEMBERED = 20_000  # item ids: 2 MB
MODEL_DIGITS = 64


class Tickets:
    """Asks the chain about ratings' tickets."""

    def __init__(self, chain: Chain, catalog: Catalog) -> None:
        self._chain = chain
        self._catalog = catalog
        self._good: dict[str, None] = {}

    async def good(self, heard: Listed[Rating]) -> bool:
        """Whether the author of a rating paid for what he rates. An offer that is not known here counts as unproven."""
        if heard.body.subject_kind == "offer" and self._catalog.get(heard.body.subject, Offer) is None:
            return False
        return await self.paid(heard)

    async def paid(self, heard: Listed[Rating]) -> bool:
        """Whether the author has the ticket that he names, and it is not one for another offer that is known here."""
        body, author = heard.body, heard.item.signer
        if not self._fits(body):
            return False
        if heard.item.id in self._good:
            return True
        if body.subject_kind == "model":
            if not await self.settled(body.subject, author):
                return False
        else:
            sale = await self._chain.sale.sale(int(body.ticket))
            if not sale.was_paid or sale.buyer != author:
                return False
        self._good[heard.item.id] = None
        while len(self._good) > REMEMBERED:
            del self._good[next(iter(self._good))]
        return True

    def _fits(self, body: Rating) -> bool:
        if body.subject_kind == "model":
            return body.ticket == body.subject
        if not body.ticket.isdecimal() or int(body.ticket) >= 1 << 128:
            return False
        offer = self._catalog.get(body.subject, Offer)
        return offer is None or int(body.ticket) >> 64 == offer.body.offer_no

    async def settled(self, model: str, payer: str) -> int:
        """Base units that a payer has ever settled on a model's lane; 0 for what is no model of this chain."""
        if len(model) != MODEL_DIGITS or not set(model) <= set("0123456789abcdef"):
            return 0
        model_id = bytes.fromhex(model)
        lane = self._chain.models.lane_of(model_id)
        paid = await self._chain.bank.paid(payer, self._chain.models.address, lane)
        if not paid or await self._chain.models.model_of_lane(lane) != model_id:
            return 0
        return paid
