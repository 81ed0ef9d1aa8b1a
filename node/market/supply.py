"""What the own shard could give to others' wants: "you have what someone wants, publish it?"

Every new demand is held against the own records, also those that are on no offer. Closeness is judged on the embedding
model's own scale, since a bare cosine says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import structlog
import trio

from node.market.catalog import Listed
from node.market.gossip import Gossip
from node.market.kinds import Body
from node.market.ports import Events, OnOffer
from node.market.sketch import Vectors, dequantise
from node.refine.quality import Scale, measure_scale
from node.shard import Filter, Shard
from protocols.demand.demand import Demand
from protocols.ids import PeerId

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

WAITING = 256  # demands; when more come at once the newest ones are looked at only when somebody asks
LOOKED_AT = 50  # of the own records nearest to a want
LEAST_RECORDS = 3  # one near record may be chance
KEPT_SCALES = 16  # domains


class Supply(msgspec.Struct, frozen=True):
    """Own records that meet a want: how many of the nearest, how many of those stand in no offer, the best cosine; and
    the nearest record, whether it meets the want or not.
    """

    records: int = 0
    unoffered: int = 0
    score: float = 0.0
    nearest: str = ""


class SupplyDesk:
    """Watches demands; run `serve` in the node's nursery."""

    def __init__(self, *, shard: Shard, offers: OnOffer, gossip: Gossip, events: Events, peer: PeerId) -> None:
        self._shard = shard
        self._offers = offers
        self._events = events
        self._peer = peer
        self._send, self._receive = trio.open_memory_channel[Listed[Demand]](WAITING)
        self._scales: dict[str, tuple[int, Scale]] = {}
        gossip.on_item(self._heard)

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell of wants that the own shard meets, until cancelled."""
        task_status.started()
        async for listed in self._receive:
            found = await self.of(listed.body)
            if found.unoffered >= LEAST_RECORDS:
                log.info("own records meet a want", demand=listed.item.id, records=found.unoffered)
                self._events.publish(
                    "matches", {"demand": listed.item.id, "domain": listed.body.domain, **msgspec.to_builtins(found)}
                )

    async def of(self, demand: Demand) -> Supply:
        """What the own shard holds for a want."""
        if demand.model_id != self._shard.model_id or len(demand.vector) != self._shard.dim:
            return Supply()
        return await self.near(dequantise(demand.vector), demand.domain)

    async def near(self, vector: Vectors, domain: str) -> Supply:
        """What the own shard holds of a domain around a direction (dim,) of its own embedding model."""
        own = Filter(domain=domain, origin="own")
        hits = await self._shard.search(vector, limit=LOOKED_AT, where=own)
        scale = await self._measured(own)
        near = [hit for hit in hits if hit.score >= scale.close]
        unoffered = sum(self._offers.offer_of(hit.record.id) is None for hit in near)
        best = max((hit.score for hit in near), default=0.0)
        return Supply(len(near), unoffered, best, hits[0].record.id if hits else "")

    async def close(self, domain: str) -> float:
        """The cosine from which on two texts of a domain have to do with one another, measured on the own records."""
        return (await self._measured(Filter(domain=domain, origin="own"))).close

    def _heard(self, listed: Listed[Body]) -> None:
        if isinstance(listed.body, Demand) and listed.item.peer != self._peer:
            try:
                self._send.send_nowait(Listed(item=listed.item, body=listed.body))
            except trio.WouldBlock:
                log.info("too many wants at once, one is not looked at", demand=listed.item.id)

    async def _measured(self, own: Filter) -> Scale:
        """The scale of closeness among the own records of a domain, measured anew when the shard has changed."""
        domain, changes = own.domain or "", self._shard.changes
        known = self._scales.get(domain)
        if known is None or known[0] != changes:
            some = await self._shard.list(own, limit=1_000)
            vectors = np.array([record.vector for record in some], np.float32).reshape(len(some), self._shard.dim)
            known = self._scales[domain] = (changes, measure_scale(vectors))
            if len(self._scales) > KEPT_SCALES:
                self._scales.pop(next(iter(self._scales)))
        return known[1]
