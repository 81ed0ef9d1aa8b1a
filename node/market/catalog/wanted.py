"""What somebody looks for among the offers."""

from __future__ import annotations

import msgspec

from protocols.offers.offer import Offer


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Every condition that is given must hold. `signer` is whose offers, `stranger` whose not; prices in base units."""

    domain: str | None = None
    licence: str | None = None
    model_id: str | None = None
    max_price_wei: int | None = None
    min_quality_ppm: int | None = None
    signer: str | None = None
    stranger: str | None = None

    def admits(self, signer: str, offer: Offer) -> bool:
        """Whether an offer is meant."""
        return (
            self.domain in (None, offer.domain)
            and self.licence in (None, offer.licence)
            and self.model_id in (None, offer.model_id)
            and (self.max_price_wei is None or int(offer.price_wei) <= self.max_price_wei)
            and (self.min_quality_ppm is None or offer.quality.overall >= self.min_quality_ppm)
            and self.signer in (None, signer)
            and (self.stranger is None or self.stranger != signer)
        )
