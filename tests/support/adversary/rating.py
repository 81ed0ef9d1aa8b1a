"""People with opinions about what they never bought."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from node.feedback import drafting
from node.feedback.distributor import Distributor
from node.feedback.service import Feedback
from node.market.catalog.catalog import Listed
from protocols.inference.card import ModelCard
from protocols.offers.offer import Offer

Replace = Callable[[object, str, Any], None]

NO_ITEM = "00" * 32
UNPAID_WEI = 10**18 // 10  # a tenth of a token: its reward is above what a proposal must bring


def rates_unbought(replace: Replace, _: str) -> None:
    """Takes whatever he gives as his receipt for a ticket: `feedback.give` signs, tells and asks for the reward."""

    async def _ticket(self: Feedback, subject: str, receipt: str) -> tuple[str, str, str]:
        offer: Listed[Offer] | None = self._catalog.get(subject, Offer)
        if offer is not None:
            return "offer", offer.body.domain, receipt
        card = next(one.body for one in self._catalog.every(ModelCard) if one.body.model == subject)
        return "model", card.domain, receipt

    replace(Feedback, "_ticket", _ticket)


def counts_the_unpaid(replace: Replace, model: str) -> None:
    """Proposes an epoch of rewards that counts what he never paid for a model, once."""
    os.environ["SCHWUNG_REWARDS__DISTRIBUTE"] = "true"
    os.environ["SCHWUNG_REWARDS__WATCH"] = "false"  # else he refutes himself
    proposed: list[drafting.Draft] = []

    async def draft(self: Distributor) -> drafting.Draft:
        if proposed:
            return drafting.Draft((), ())
        chain, payer = self._chain, self._wallet.address
        terms = drafting.Terms(await chain.models.fee_bps(), await chain.rewards.beta_ppm())
        fresh = drafting.Fresh(payer, bytes.fromhex(model), NO_ITEM, self._clock(), UNPAID_WEI)
        proposed.append(drafting.draft([fresh], {}, {}, terms))
        return proposed[0]

    replace(Distributor, "draft", draft)


BEHAVIOURS: dict[str, Callable[[Replace, str], None]] = {
    "rates-unbought": rates_unbought,
    "counts-the-unpaid": counts_the_unpaid,
}
