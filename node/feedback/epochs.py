"""The reward epochs of the chain: read from the pool's events into the journal, and what follows from them.

Proposed -> a row with all its accounts     Voided, Finished -> its state     undone by a reorganisation -> undone here
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

import msgspec
import structlog
import trio

from contracts.chain import Chain
from contracts.logs import Change, LogTail
from node.journal.cursors import Cursors
from node.journal.epochs import Epoch, State
from node.journal.epochs import Epochs as EpochStore
from protocols.feedback.epoch import Account, EpochTree, Line, lines_hash
from protocols.ids import Address

log = structlog.get_logger(__name__)

CURSOR = "rewards"
AFTER: dict[str, State] = {"Voided": "void", "Finished": "finished"}


class Standing(msgspec.Struct, frozen=True):
    """What epochs that were not void say of one payer: how far each model's lane was counted, and when (UTC seconds)
    that was last said; the sums promised to him that he has not claimed are `open_wei`.
    """

    up_to_wei: dict[bytes, int]
    counted_at: dict[bytes, int]
    open_wei: int


class Claimable(msgspec.Struct, frozen=True):
    """An account of ours in an epoch that is ready, and what claiming it would credit now."""

    epoch: int
    index: int
    account: Account
    lines_hash: bytes
    proof: tuple[bytes, ...]
    amount_wei: int


class Epochs:
    """Follows the pool; call `read` before asking."""

    def __init__(
        self, chain: Chain, store: EpochStore, cursors: Cursors, *, first_block: int, confirmations: int
    ) -> None:
        self._chain = chain
        self._store = store
        self._cursors = cursors
        topics = [chain.rewards.topic(name) for name in ("Proposed", *AFTER)]
        self._tail = LogTail(chain, [chain.rewards.address], [topics], first=first_block, confirmations=confirmations)
        self._reading = trio.Lock()
        self._seen = ""  # the newest block's hash at the last reading
        self._claimed: set[tuple[int, int]] = set()

    async def read(self) -> None:
        """Read on to the newest block. Raises ChainError."""
        async with self._reading:
            newest = await self._chain.block_hash("latest") or ""
            if newest == self._seen:
                return
            batch = await self._tail.poll(await self._cursors.get(CURSOR))
            for change in batch.changes:
                await self._take(change)
            await self._cursors.set(CURSOR, batch.cursor)
            self._seen = "" if batch.behind else newest

    async def all(self) -> list[Epoch]:
        """Every epoch known, the first one first."""
        return await self._store.all()

    async def standings(self) -> dict[str, Standing]:
        """By payer, what all epochs that were not void say."""
        up_to: dict[str, dict[bytes, int]] = defaultdict(dict)
        counted: dict[str, dict[bytes, int]] = defaultdict(dict)
        open_wei: dict[str, int] = defaultdict(int)
        for row in await self._store.all():
            if row.state == "void":
                continue
            for index, account in enumerate(accounts_of(row.accounts)):
                for line in account.lines:
                    if line.up_to_wei > up_to[account.payer].get(line.model_id, 0):
                        up_to[account.payer][line.model_id] = line.up_to_wei
                        counted[account.payer][line.model_id] = row.proposed_at
                if not await self._is_claimed(row.epoch, index):
                    open_wei[account.payer] += account.delta_wei
        return {payer: Standing(up_to[payer], counted[payer], open_wei[payer]) for payer in up_to}

    async def claimable(self, payer: str) -> list[Claimable]:
        """What `payer` may claim now, in the order in which it should be: the first epoch first."""
        had = await self._chain.rewards.claimed(payer)
        now = await self._chain.timestamp()
        found = []
        for row in await self._store.all():
            if row.state == "void" or now < row.ready_at:
                continue
            accounts = accounts_of(row.accounts)
            index = next((at for at, one in enumerate(accounts) if one.payer == payer), None)
            if index is None or await self._is_claimed(row.epoch, index):
                continue
            account = accounts[index]
            amount = min(max(0, account.cumulative_wei - had), account.delta_wei)
            had += amount
            proof = tuple(EpochTree(accounts).proof(index))
            if amount:
                found.append(Claimable(row.epoch, index, account, lines_hash(account.lines), proof, amount))
        return found

    async def _is_claimed(self, epoch: int, index: int) -> bool:
        if (epoch, index) not in self._claimed:
            if not await self._chain.rewards.is_claimed(epoch, index):
                return False
            self._claimed.add((epoch, index))
        return True

    async def _take(self, change: Change) -> None:
        event, epoch = change.log, int(change.log.args["epoch"])
        if event.name == "Proposed":
            if change.removed:
                await self._store.drop(epoch)
                return
            block = await self._chain.block(event.block)
            await self._store.keep(
                Epoch(
                    epoch=epoch,
                    proposer=event.args["proposer"],
                    proposed_at=block.timestamp if block else 0,
                    ready_at=int(event.args["readyAt"]),
                    evidence=event.args["evidence"],
                    accounts=packed(_accounts(event.args["accounts"])),
                    state="proposed",
                )
            )
            log.info("rewards proposed", epoch=epoch, proposer=event.args["proposer"], total=event.args["total"])
        elif event.name in AFTER:
            await self._store.mark(epoch, "proposed" if change.removed else AFTER[event.name])
            log.info("rewards decided", epoch=epoch, state=AFTER[event.name], undone=change.removed)


def packed(accounts: Sequence[Account]) -> bytes:
    """Accounts as a row keeps them: JSON, whose numbers have no end (amounts go up to 2^96)."""
    rows = [
        (one.payer, one.cumulative_wei, one.delta_wei, [(line.model_id.hex(), line.up_to_wei) for line in one.lines])
        for one in accounts
    ]
    return json.dumps(rows).encode()


def accounts_of(encoded: bytes) -> list[Account]:
    """The accounts of a row, which `packed` wrote."""
    return [
        Account(Address(payer), cumulative, delta, tuple(Line(bytes.fromhex(model), up_to) for model, up_to in lines))
        for payer, cumulative, delta, lines in json.loads(encoded)
    ]


def _accounts(plain: Sequence[tuple[str, int, int, Sequence[tuple[bytes, int]]]]) -> list[Account]:
    return [
        Account(Address(payer), cumulative, delta, tuple(Line(model, up_to) for model, up_to in lines))
        for payer, cumulative, delta, lines in plain
    ]
