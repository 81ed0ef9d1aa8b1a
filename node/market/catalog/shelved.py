"""What a start needs of an item, as the journal keeps it beside the envelope."""

from __future__ import annotations

import msgspec
import numpy as np

from node.journal.catalog import Kept
from node.market.catalog.atlas import mean_of
from node.market.catalog.listed import Held, Listed, hold
from node.market.kinds import Body
from node.market.search.sketch import Vectors
from protocols.ids import Address, PeerId
from protocols.offers.offer import KIND as OFFER
from protocols.offers.offer import Offer


class Space(msgspec.Struct, frozen=True):
    """The embedding space in which this node asks; offers of others are kept, and ranked by nobody."""

    model_id: str
    dim: int

    def mean(self, kept: Kept) -> Vectors | None:
        """Where an offer of this space lies; None when that was not written."""
        if kept.mean is None or len(kept.mean) != 4 * self.dim:
            return None
        return np.frombuffer(kept.mean, np.float32)


def companion(listed: Listed[Body], space: Space, held: Held | None = None) -> Kept:
    """What to write beside an envelope."""
    held, body, mean = held or hold(listed), listed.body, None
    if isinstance(body, Offer) and space == Space(body.model_id, len(body.sketch[0].vector)):
        mean = mean_of(body.sketch).tobytes()
    return Kept(
        id=listed.item.id, kind=held.kind, domain=held.domain, signer=held.signer, peer=held.peer,
        made_at=held.made_at, expires_at=held.expires_at, size=held.size_bytes,
        kept=held.kept if held.kind == OFFER else None, mean=mean,
    )  # fmt: skip


def held_of(kept: Kept, raw: bytes) -> Held:
    """What memory keeps, from what was written; `raw` is the envelope where that is it."""
    held = Held(
        kind=kept.kind, domain=kept.domain, signer=Address(kept.signer), peer=PeerId(kept.peer),
        expires_at=kept.expires_at, made_at=kept.made_at, size_bytes=kept.size,
        kept=raw if kept.kept is None else kept.kept,
    )  # fmt: skip
    held.intern()
    return held
