"""Ratings at the border: one without a ticket is not let in, not kept, not told to anybody who asks us.

A rating may be quicker than the block that proves it, or than the view of our endpoint. So who has no ticket yet waits
outside for a while, in a room with bounds, and is looked at again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import trio

from contracts.errors import ChainError
from node.feedback.tickets import Tickets
from node.market.catalog.catalog import Listed
from protocols.feedback.rating import Rating

log = structlog.get_logger(__name__)

MOST_WAITING = 512  # ratings of at most 48 KiB: 24 MiB
AGAIN_S = 5.0
PATIENCE_S = 300.0  # blocks of any chain, and an endpoint that is behind

Admit = Callable[[bytes], Awaitable[None]]


class Border:
    """Decides about ratings; run `tend` in the node's nursery."""

    def __init__(self, tickets: Tickets, admit: Admit) -> None:
        self._tickets = tickets
        self._admit = admit
        self._waiting: OrderedDict[bytes, float] = OrderedDict()

    async def lets_in(self, listed: Listed[Any]) -> bool:
        """Whether an item may be kept: anything but a rating without a ticket."""
        if not isinstance(listed.body, Rating):
            return True
        raw = listed.item.raw
        try:
            paid = await self._tickets.paid(Listed(item=listed.item, body=listed.body))
        except ChainError as err:
            log.info("a rating waits for the chain", feedback=listed.item.id, reason=str(err))
            paid = False
        if paid:
            self._waiting.pop(raw, None)
            return True
        if raw not in self._waiting:
            log.debug("a rating without a ticket waits outside", feedback=listed.item.id, signer=listed.item.signer)
            self._waiting[raw] = trio.current_time() + PATIENCE_S
            while len(self._waiting) > MOST_WAITING:
                self._waiting.popitem(last=False)
        return False

    async def tend(self) -> None:
        """Until cancelled: look again at who waits."""
        while True:
            await trio.sleep(AGAIN_S)
            await self.look_again()

    async def look_again(self) -> None:
        """One look at everybody who waits; who has waited too long is sent away."""
        for raw, until in list(self._waiting.items()):
            await self._admit(raw)
            if trio.current_time() >= until:
                self._waiting.pop(raw, None)
