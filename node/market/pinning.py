"""Which payloads stay pinned: those of open offers, and of sales that are not over yet.

What is pinned at the store (embedded or an external daemon) is compared with what the journal says, after every event
that can change it and once a minute for offers that expire: a crash between the two mends itself. Pins of others at a
shared daemon are never touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

from node.blocks import Blocks, BlocksError
from node.journal.deals import Deals
from node.journal.publications import Publication, Publications
from node.market.draft import Draft
from node.observe.events import EventBus
from protocols.ids import Cid

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

LOOK_S = 60.0
REST_S = 0.5  # events come in bursts: one look for all of them
TOPICS = {"offers", "deals"}


class Pinning:
    """Run `serve` in the node's nursery."""

    def __init__(
        self, *, blocks: Blocks, publications: Publications, deals: Deals, events: EventBus, clock: Callable[[], int]
    ) -> None:
        self._blocks = blocks
        self._publications = publications
        self._deals = deals
        self._events = events
        self._clock = clock
        self._woken = trio.Event()

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the pins right until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            task_status.started()
            while True:
                self._woken = trio.Event()
                try:
                    await self.tidy()
                except BlocksError as err:  # an external daemon that rests: the next look finds it again
                    log.warning("pins could not be compared", kind=err.kind, reason=str(err))
                with trio.move_on_after(LOOK_S):
                    await self._woken.wait()
                await trio.sleep(REST_S)

    async def tidy(self) -> None:
        """Unpin what is over, pin what is on offer and was lost from the pins. Raises BlocksError."""
        pinned = set(await self._blocks.pins())
        for row in await self._publications.all():
            draft = msgspec.json.decode(row.draft, type=Draft)
            cid = Cid(draft.cid)
            if await self._over(row, draft):
                if cid in pinned:
                    await self._blocks.unpin(cid)
                    log.info("payload is no longer pinned", cid=cid, offer=row.offer)
            elif row.state == "announced" and row.content_key is not None and cid not in pinned:
                await self._pin_again(cid, row)

    async def _over(self, row: Publication, draft: Draft) -> bool:
        ended = row.state in ("withdrawn", "failed") or (row.state == "announced" and draft.expires_at <= self._clock())
        return ended and all(deal.over for deal in await self._deals.of_offer("seller", row.offer))

    async def _pin_again(self, cid: Cid, row: Publication) -> None:
        if await self._blocks.has(cid):
            await self._blocks.pin(cid)
            log.info("payload was not pinned any more", cid=cid, offer=row.offer)
        else:
            log.warning("the payload of an open offer is gone: withdraw the offer", cid=cid, offer=row.offer)

    async def _listen(self) -> None:
        with self._events.subscribe(TOPICS) as events:
            async for _event in events:
                self._woken.set()
