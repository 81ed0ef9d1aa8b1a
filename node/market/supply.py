"""What the own shard could give to others' wants: "you have what someone wants, publish it?"

Every new demand is held against the own records, also those that are on no offer. Closeness is judged on the embedding
model's own scale, since a bare cosine says nothing.

A want may stand for many (profiles): then it is the mean of their unit vectors, and its length, the `focus`, says how
closely they stand together. Its product with a unit vector is the mean of all their cosines with that vector, and the
square of its length the mean of their cosines with one another; so both compare with the cosines of single texts, which
the cosine with a mean's direction does not: that is higher with everything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import structlog
import trio

from node.market.catalog.catalog import Listed
from node.market.gossip import Gossip
from node.market.kinds import Body
from node.market.ports import Events, OnOffer
from node.market.search.sketch import Vectors, dequantise
from node.refine.quality import SAMPLE_LEAST, Scale, measure_scale
from node.shard import Filter, Shard
from protocols.demand.demand import Demand
from protocols.ids import PeerId

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

WAITING = 256  # demands; when more come at once the newest ones are looked at only when somebody asks
LOOKED_AT = 50  # of the own records nearest to a want
MOST_OFFERS = 16  # named, those with most of the records first
COUNTED = 1_000  # of those nearest to many wants
LEAST_RECORDS = 3  # one near record may be chance
KEPT_SCALES = 16  # domains
# How far above chance something has to lie to have to do with a group of wants, as a part of the way from there to what
# the wants have to do with one another: `python -m tests.bench.profiles`, column "counted".
OF_RECORDS, OF_WANTS = 1 / 3, 1 / 2
LEAST_WAY = 0.15  # of the way to what only one of a hundred unrelated pairs reaches
SAMPLED = 256  # own records held against all wants, to know what chance is


class Supply(msgspec.Struct, frozen=True):
    """Own records that meet a want: how many of the nearest, how many of those stand in no offer, the best cosine, the
    own open offers that hold the others; and the nearest record, whether it meets the want or not.
    """

    records: int = 0
    unoffered: int = 0
    score: float = 0.0
    nearest: str = ""
    offers: list[str] = []


class Measured(msgspec.Struct, frozen=True, eq=False):
    """The scale of closeness among some texts, and some of their vectors."""

    scale: Scale
    sample: Vectors

    def bar(self, focus: float, way: float = OF_RECORDS) -> float:
        """From which mean cosine on something has to do with a group of wants: part of the `way` from chance to what
        they have to do with one another, and always somewhat above chance.
        """
        middle, close = self.scale.middle, self.scale.close
        return min(close, middle + max((close - middle) * LEAST_WAY, (focus**2 - middle) * way))

    def against(self, means: Sequence[Vectors]) -> Measured:
        """The same scale, with chance as these wants have it with the own records: most wants have nothing to do with
        most records, while records of one topic are all near one another.
        """
        if len(self.sample) < SAMPLE_LEAST or not means:
            return self
        middle = min(self.scale.middle, float(np.median(self.sample @ np.stack(means).T)))
        return msgspec.structs.replace(self, scale=Scale(middle, self.scale.close))


def measure(vectors: Vectors) -> Measured:
    """Of (n, dim) unit vectors."""
    return Measured(measure_scale(vectors), vectors[:: max(1, len(vectors) // SAMPLED)])


class SupplyDesk:
    """Watches demands; run `serve` in the node's nursery."""

    def __init__(self, *, shard: Shard, offers: OnOffer, gossip: Gossip, events: Events, peer: PeerId) -> None:
        self._shard = shard
        self._offers = offers
        self._events = events
        self._peer = peer
        self._send, self._receive = trio.open_memory_channel[Listed[Demand]](WAITING)
        self._scales: dict[str, tuple[int, Measured]] = {}
        gossip.on_item(self._heard)

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell of wants that the own shard meets, until cancelled."""
        task_status.started()
        async for listed in self._receive:
            found = await self.of(listed.body)
            if found.records >= LEAST_RECORDS:
                log.info("own records meet a want", demand=listed.item.id, unoffered=found.unoffered)
                self._events.publish(
                    "matches", {"demand": listed.item.id, "domain": listed.body.domain, **msgspec.to_builtins(found)}
                )

    async def of(self, demand: Demand) -> Supply:
        """What the own shard holds for a want."""
        if demand.model_id != self._shard.model_id or len(demand.vector) != self._shard.dim:
            return Supply()
        scale = (await self.measured(demand.domain)).scale
        return await self.near(dequantise(demand.vector), demand.domain, scale.close, LOOKED_AT)

    async def near(self, mean: Vectors, domain: str, least: float, limit: int) -> Supply:
        """What the own shard holds of a domain around wants of its own embedding model, given as their mean (dim,).

        `least` is the mean cosine from which on a record counts.
        """
        own = Filter(domain=domain, origin="own")
        length = float(np.linalg.norm(mean))
        hits = await self._shard.search(mean / np.float32(max(length, 1e-9)), limit=limit, where=own)
        near = [hit for hit in hits if hit.score * length >= least]
        shelves = Counter(self._offers.offer_of(hit.record.id) for hit in near)
        return Supply(
            records=len(near),
            unoffered=shelves.pop(None, 0),
            score=max((hit.score * length for hit in near), default=0.0),
            nearest=hits[0].record.id if hits else "",
            offers=[offer for offer, _ in shelves.most_common(MOST_OFFERS) if offer],
        )

    async def measured(self, domain: str) -> Measured:
        """How near texts of a domain are to one another, as the own records show it."""
        return await self._measured(Filter(domain=domain, origin="own"))

    def _heard(self, listed: Listed[Body]) -> None:
        if isinstance(listed.body, Demand) and listed.item.peer != self._peer:
            try:
                self._send.send_nowait(Listed(item=listed.item, body=listed.body))
            except trio.WouldBlock:
                log.info("too many wants at once, one is not looked at", demand=listed.item.id)

    async def _measured(self, own: Filter) -> Measured:
        """The scale of closeness among the own records of a domain, measured anew when the shard has changed."""
        domain, changes = own.domain or "", self._shard.changes
        known = self._scales.get(domain)
        if known is None or known[0] != changes:
            some = await self._shard.list(own, limit=1_000)
            vectors = np.array([record.vector for record in some], np.float32).reshape(len(some), self._shard.dim)
            known = self._scales[domain] = (changes, measure(vectors))
            if len(self._scales) > KEPT_SCALES:
                self._scales.pop(next(iter(self._scales)))
        return known[1]
