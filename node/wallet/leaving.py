"""Payers who announce to leave: seen in the bank's events, they lower their cover at once, and the settler looks.

Nothing is journalled: this only makes remembered snapshots forgotten sooner. Whatever happens while the node is away is
met by the settler's first round, which reads the chain.
"""

from __future__ import annotations

import structlog
import trio

from contracts.chain import Chain
from contracts.errors import ChainError
from contracts.logs import Cursor, LogTail
from node.wallet.cover import Cover
from node.wallet.settle import Settler

log = structlog.get_logger(__name__)

# What changes a payer's standing otherwise than by settling; a deposit is found when it is needed
EVENTS = ("ExitStarted", "Exited", "Reserved", "DelegateSet")
TROUBLE_S = 3.0


class Leaving:
    """Follows the bank from now on."""

    def __init__(self, chain: Chain, cover: Cover, settler: Settler, *, poll_s: float) -> None:
        self._chain = chain
        self._cover = cover
        self._settler = settler
        self._poll_s = poll_s
        self._tail: LogTail | None = None
        self._cursor: Cursor = {}
        self._head = ""

    async def run(self) -> None:
        """Until cancelled. Trouble with the chain is waited out."""
        well = True
        while True:
            try:
                await self.poll()
                well = True
            except ChainError as err:
                if well:
                    log.warning("the bank's events cannot be read", reason=str(err))
                well = False
            await trio.sleep(self._poll_s if well else TROUBLE_S)

    async def poll(self) -> None:
        """Read on once. Raises ChainError."""
        block = await self._chain.block()
        if block is None or block.hash == self._head:
            return
        if self._tail is None:
            self._tail = self._follow(block.number)
        batch = await self._tail.poll(self._cursor)
        self._cursor, self._head = batch.cursor, block.hash
        for payer in {change.log.args["payer"] for change in batch.changes}:
            self._cover.forget(payer)
        if batch.changes:
            self._settler.wake()

    def _follow(self, first: int) -> LogTail:
        bank = self._chain.bank
        return LogTail(self._chain, [bank.address], [[bank.topic(name) for name in EVENTS]], first=first)
