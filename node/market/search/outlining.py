"""Outlines between peers: shown by the owner of an offer, fetched once by who may want to ask him.

What an outline covers stands in an open offer: records that are not on offer are in none, and when an offer is
withdrawn its outline is not shown any more, nor used by those who have it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np
import structlog
import trio

from node.journal.publications import Publication
from node.market.catalog.catalog import Listed
from node.market.ports import Wire
from node.market.search.outline import Outline, outline, read
from node.market.search.regions import Vectors
from node.network.errors import NetworkError
from node.shard import Shard
from protocols.codec import decode, encode
from protocols.errors import ProtocolError
from protocols.ids import PeerId
from protocols.offers.offer import Offer
from protocols.search.outline import MAX_REPLY_BYTES, MAX_REQUEST_BYTES, PROTOCOL, OutlineReply, OutlineRequest

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

CONCURRENCY = 2
DESCRIBED_MOST = 20_000  # records of an offer, evenly chosen: more change no mean, and cost seconds
PAGE = 1_000
REPLIES_KEPT = 64  # of our own offers, 256 kB each at most: to make one costs up to a second
TIMEOUT_S = 20.0  # an owner may have to make it first
FETCHED_AT_ONCE = 4
WAITING = 256  # offers to be fetched; when more are wanted at once the rest is wanted again by the next search
AGAIN_S = 600.0  # until an owner who showed nothing is asked again
KEPT_BYTES = 128 << 20  # of float32 arrays: 130 offers of the largest outlines, 500 of a thousand records


class Own(Protocol):
    """The journal of own offers, as this needs it."""

    async def by_offer(self, offer: str) -> Publication | None: ...


class Outlining:
    """Shows the outlines of own open offers; `least` is how many records a region stands for, 0 shows none."""

    def __init__(self, *, shard: Shard, own: Own, wire: Wire, least: int) -> None:
        self._shard = shard
        self._own = own
        self._wire = wire
        self._least = least
        self._making = trio.Lock()
        self._made: OrderedDict[str, bytes] = OrderedDict()

    def serve(self) -> None:
        """Answer from now on."""
        self._wire.serve(PROTOCOL, self._answer, max_request_bytes=MAX_REQUEST_BYTES, concurrency=CONCURRENCY)

    async def _answer(self, _peer: PeerId, body: bytes) -> bytes:
        request = decode(body, OutlineRequest, max_bytes=MAX_REQUEST_BYTES)
        if not self._least:
            return encode(OutlineReply(refused="no outlines are shown here"))
        row = await self._own.by_offer(request.offer)
        if row is None or row.state != "announced":
            self._made.pop(request.offer, None)
            return encode(OutlineReply(refused="that is no open offer of this node"))
        async with self._making:
            if request.offer not in self._made:
                self._made[request.offer] = await self._make(msgspec.json.decode(row.record_ids, type=list[str]))
                if len(self._made) > REPLIES_KEPT:
                    self._made.popitem(last=False)
            return self._made[request.offer]

    async def _make(self, ids: Sequence[str]) -> bytes:
        chosen = ids[:: -(-len(ids) // DESCRIBED_MOST)]
        vectors: list[Vectors] = []
        for at in range(0, len(chosen), PAGE):
            vectors += [record.vector for record in await self._shard.fetch(chosen[at : at + PAGE])]
        if not vectors:
            return encode(OutlineReply(refused="the records are not here any more"))
        regions = await trio.to_thread.run_sync(lambda: outline(np.stack(vectors), self._least))
        return encode(OutlineReply(regions=regions))


class Outlines:
    """The outlines of others' offers, by offer; run `serve` in the node's nursery."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.changes = 0  # grows with every outline that comes
        self._kept: OrderedDict[str, Outline] = OrderedDict()
        self._bytes = 0
        self._again_at: OrderedDict[str, float] = OrderedDict()
        self._send, self._receive = trio.open_memory_channel[Listed[Offer]](WAITING)
        self._under_way: set[str] = set()

    def of(self, offer: str) -> Outline | None:
        """The outline of an offer, if it has come."""
        found = self._kept.get(offer)
        if found is not None:
            self._kept.move_to_end(offer)
        return found

    def want(self, offers: Sequence[Listed[Offer]]) -> None:
        """Have these fetched, unless they are here, on the way, or were not to be had lately. Never waits."""
        for listed in offers:
            id = listed.item.id
            if id in self._kept or id in self._under_way or self._again_at.get(id, 0.0) > trio.current_time():
                continue
            try:
                self._send.send_nowait(listed)
            except trio.WouldBlock:
                return
            self._under_way.add(id)

    def keep_only(self, offers: set[str]) -> None:
        """Forget the outlines of offers that are over."""
        for id in [id for id in self._kept if id not in offers]:
            self._bytes -= _size(self._kept.pop(id))

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fetch what is wanted, a few at a time."""
        async with trio.open_nursery() as nursery:
            for _ in range(FETCHED_AT_ONCE):
                nursery.start_soon(self._fetch_on)
            task_status.started()

    async def _fetch_on(self) -> None:
        async for listed in self._receive.clone():
            id = listed.item.id
            try:
                self._keep(id, await self._fetch(listed))
            except (NetworkError, ProtocolError) as err:
                log.debug("no outline of an offer", offer=id, peer=listed.item.peer, reason=str(err))
                self._again_at[id] = trio.current_time() + AGAIN_S
                if len(self._again_at) > WAITING * 4:
                    self._again_at.popitem(last=False)
            finally:
                self._under_way.discard(id)

    async def _fetch(self, listed: Listed[Offer]) -> Outline:
        """Raises NetworkError, ProtocolError; RuleBroken when the owner shows none."""
        request = encode(OutlineRequest(offer=listed.item.id))
        raw = await self._wire.request(
            listed.item.peer, PROTOCOL, request, timeout_s=TIMEOUT_S, max_reply_bytes=MAX_REPLY_BYTES, repeatable=True
        )
        reply = decode(raw, OutlineReply, max_bytes=MAX_REPLY_BYTES)
        return read(reply.regions, listed.body)

    def _keep(self, id: str, found: Outline) -> None:
        self._kept[id] = found
        self._bytes += _size(found)
        self.changes += 1
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(one: Outline) -> int:
    return one.means.nbytes + one.axes.nbytes
