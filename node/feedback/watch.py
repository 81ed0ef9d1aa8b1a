"""Looks at every proposal of rewards, and refutes one that counts what was never settled.

Anybody can: the accounts stand in the event, the bank and the registry of models hold the facts. Whoever shows a false
line gets half of the proposer's stake; so it is enough that one honest node looks within the window.
"""

from __future__ import annotations

import structlog

from contracts.chain import Chain
from contracts.errors import Reverted
from node.feedback.epochs import Epochs, accounts_of
from node.feedback.ports import Events, Wallet
from node.feedback.tickets import Tickets
from node.journal.epochs import Epoch
from node.wallet.transact import Transactor
from protocols.feedback.epoch import Account, EpochTree

log = structlog.get_logger(__name__)

REMEMBERED = 4_096  # proposals found true


class Watch:
    """One per node; `look` does what is due."""

    def __init__(
        self, *, wallet: Wallet, chain: Chain, transactor: Transactor, tickets: Tickets, epochs: Epochs, events: Events
    ) -> None:
        self._wallet = wallet
        self._chain = chain
        self._transactor = transactor
        self._tickets = tickets
        self._epochs = epochs
        self._events = events
        self._true: dict[tuple[int, bytes], None] = {}
        self._told: set[int] = set()

    async def look(self) -> None:
        """Compare every proposal that can still be refuted with the chain. Raises ChainError, InsufficientFunds."""
        now = await self._chain.timestamp()
        for row in await self._epochs.all():
            if row.state != "proposed" or now >= row.ready_at or (row.epoch, row.evidence) in self._true:
                continue
            accounts = accounts_of(row.accounts)
            index = await self._false(accounts)
            if index is None:
                self._remember(row)
            else:
                await self._refute(row, accounts, index)

    async def _false(self, accounts: list[Account]) -> int | None:
        """The first account with a line that counts more than its payer settled, or whose model does not exist."""
        for index, account in enumerate(accounts):
            for line in account.lines:
                if line.up_to_wei > await self._tickets.settled(line.model_id.hex(), account.payer):
                    return index
        return None

    async def _refute(self, row: Epoch, accounts: list[Account], index: int) -> None:
        if row.epoch not in self._told:
            self._told.add(row.epoch)
            log.warning("a proposal of rewards is false", epoch=row.epoch, proposer=row.proposer)
            self._events.publish("rewards", {"state": "false", "epoch": row.epoch, "proposer": row.proposer})
        if not self._wallet.exists or self._wallet.locked:
            return  # looked at again with an open wallet, as long as the window lasts
        proof = EpochTree(accounts).proof(index)
        call = self._chain.rewards.challenge(row.epoch, index, accounts[index], proof)
        try:
            receipt = await self._transactor.once(f"rewards:challenge:{row.epoch}", call)
        except Reverted as err:  # somebody else was quicker: the event will say so
            log.info("a false proposal was refuted by others", epoch=row.epoch, reason=err.name)
            return
        log.info("a false proposal is void", epoch=row.epoch, transaction=receipt.hash)
        self._events.publish("rewards", {"state": "refuted", "epoch": row.epoch, "proposer": row.proposer})

    def _remember(self, row: Epoch) -> None:
        self._true[row.epoch, row.evidence] = None
        while len(self._true) > REMEMBERED:
            del self._true[next(iter(self._true))]
