"""People with opinions about what they never bought."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from node.feedback.service import Feedback
from node.market.catalog import Listed
from protocols.inference.card import ModelCard
from protocols.offers.offer import Offer

Replace = Callable[[object, str, Any], None]


def rates_unbought(replace: Replace, _: str) -> None:
    """Takes whatever he gives as his receipt for a ticket: `feedback.give` signs, tells and asks for the reward."""

    async def _ticket(self: Feedback, subject: str, receipt: str) -> tuple[str, str, str]:
        offer: Listed[Offer] | None = self._catalog.get(subject, Offer)
        if offer is not None:
            return "offer", offer.body.domain, receipt
        card = next(one.body for one in self._catalog.every(ModelCard) if one.body.model == subject)
        return "model", card.domain, receipt

    replace(Feedback, "_ticket", _ticket)


BEHAVIOURS: dict[str, Callable[[Replace, str], None]] = {"rates-unbought": rates_unbought}
