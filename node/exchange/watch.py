"""The exchange's eye on the chain: KeySale's events in order, and the clock of the newest block.

Every listener has stored what an event means to it before the cursor moves on, so after a crash events may come
twice and are never missed; the machines ignore what they know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
import trio

from contracts.chain import Chain
from contracts.errors import ChainError
from contracts.logs import Change, LogTail
from node.journal.cursors import Cursors
from protocols.exchange.events import Clock

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings its stubs, which hide trio's own types from mypy

log = structlog.get_logger(__name__)

CURSOR = "exchange"
TROUBLE_S = 3.0  # an endpoint that failed is asked again after this

OnChange = Callable[[Change], Awaitable[None]]
OnBlock = Callable[[Clock], Awaitable[None]]


class ChainWatch:
    """Polls the endpoint; `on_change` and `on_block` are called one after the other, never at the same time."""

    def __init__(self, chain: Chain, cursors: Cursors, *, first_block: int, confirmations: int, poll_s: float) -> None:
        self._chain = chain
        self._cursors = cursors
        self._tail = LogTail(chain, [chain.sale.address], first=first_block, confirmations=confirmations)
        self._poll_s = poll_s
        self._polling = trio.Lock()
        self._on_change: list[OnChange] = []
        self._on_block: list[OnBlock] = []
        self.clock = Clock(time=0, block=0)

    def listen(self, on_change: OnChange, on_block: OnBlock) -> None:
        """Register a listener, before `serve`."""
        self._on_change.append(on_change)
        self._on_block.append(on_block)

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled; ready when everything up to now has been told once, or the endpoint is away."""
        reachable = True
        while True:
            try:
                await self.poll()
                reachable = True
            except ChainError as err:
                if reachable:
                    log.warning("the chain endpoint does not answer", reason=str(err))
                reachable = False
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            await trio.sleep(self._poll_s if reachable else TROUBLE_S)

    async def poll(self) -> None:
        """Read on once; a caller who needs the newest events right now may call this. Raises ChainError."""
        async with self._polling:
            block = await self._chain.block()
            if block is None or (block.number == self.clock.block and block.timestamp == self.clock.time):
                return
            batch = await self._tail.poll(await self._cursors.get(CURSOR))
            self.clock = Clock(time=block.timestamp, block=block.number)
            for change in batch.changes:
                for on_change in self._on_change:
                    await on_change(change)
            await self._cursors.set(CURSOR, batch.cursor)
            for on_block in self._on_block:
                await on_block(self.clock)
