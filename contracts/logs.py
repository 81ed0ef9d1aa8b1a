"""Follow contract events across reorganisations, outages and restarts.

    tail = LogTail(chain, [chain.sale.address], [[chain.sale.topic("Locked")]], first=deployed_at)
    batch = await tail.poll(cursor)          # cursor: the dict of the last batch, {} at first
    await journal.write(lambda conn: handle(conn, batch.changes, batch.cursor))

The cursor is a plain JSON dict. Whoever handles the changes stores it in the same journal transaction, so that an event
is handled exactly once whatever dies in between. When blocks are orphaned, their logs come again with `removed=True`,
newest first, before the logs of the blocks that took their place.

Remembered are the hashes of the blocks that had logs and of one block in each step, back to one block at least `window`
blocks deep; a reorganisation deeper than that is followed only down to that block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from contracts.errors import RpcError, WrongChain
from contracts.values import Log

WINDOW = 64  # blocks; two epochs of the beacon chain, after which a block is final
STEP = 2_000  # blocks a query; the smallest limit among the large public endpoints
STEPS_A_POLL = 50  # a long catch-up comes in batches, so that its cursor is stored on the way

Cursor = dict[str, Any]


class LogSource(Protocol):
    """What LogTail needs of a chain."""

    async def block_number(self) -> int: ...
    async def block_hashes(self, numbers: Sequence[int]) -> list[str | None]: ...
    async def genesis(self) -> str: ...
    async def logs(
        self, *, addresses: Sequence[str], topics: Sequence[Any] = (), first: int, last: int
    ) -> list[Log]: ...
    def decode_log(self, plain: dict[str, Any]) -> Log: ...


class Change(msgspec.Struct, frozen=True):
    """One event that happened, or, with `removed`, one that a reorganisation undid."""

    log: Log
    removed: bool


class Batch(msgspec.Struct, frozen=True):
    """What one poll found; `cursor` goes to the journal with it. `behind` blocks are still to be read."""

    changes: tuple[Change, ...]
    cursor: Cursor
    behind: int


class LogTail:
    """A follower of some contracts' events. It keeps no state of its own: everything is in the cursor.

    `confirmations`: blocks from an event's own to the head, both counted; 0 and 1 tell of it at once.
    """

    def __init__(
        self,
        source: LogSource,
        addresses: Sequence[str],
        topics: Sequence[Any] = (),
        *,
        first: int = 0,
        confirmations: int = 0,
        window: int = WINDOW,
        step: int = STEP,
    ) -> None:
        self._source = source
        self._addresses = list(addresses)
        self._topics = list(topics)
        self._first = first
        self._behind = max(0, confirmations - 1)  # a block counts itself as its first confirmation
        self._window = window
        self._step = step

    async def poll(self, cursor: Cursor) -> Batch:
        """Everything since `cursor` (an empty dict at first). Raises RpcUnavailable, or WrongChain on a reset chain."""
        state = await self._open(cursor)
        changes = [Change(log, removed=True) for log in await self._rewind(state)]
        head = await self._source.block_number() - self._behind
        for _ in range(STEPS_A_POLL):
            if state.next > head or not await self._advance(state, head, changes):
                break
        return Batch(tuple(changes), state.cursor(), max(0, head + 1 - state.next))

    async def _open(self, cursor: Cursor) -> _State:
        genesis = await self._source.genesis()
        if not cursor:
            return _State(genesis, self._first, {}, {})
        if cursor["genesis"] != genesis:
            raise WrongChain(
                f"the chain begins with {genesis}, this folder followed one that begins with {cursor['genesis']}: "
                "it was reset; start with a fresh datadir"
            )
        return _State(
            genesis,
            cursor["next"],
            {int(number): one for number, one in cursor["hashes"].items()},
            {int(number): list(logs) for number, logs in cursor["logs"].items()},
        )

    async def _rewind(self, state: _State) -> list[Log]:
        """Go back to the highest remembered block that still stands; the logs of the others, newest first."""
        numbers = sorted(state.hashes, reverse=True)
        if not numbers or (await self._source.block_hashes(numbers[:1]))[0] == state.hashes[numbers[0]]:
            return []
        now = await self._source.block_hashes(numbers)
        standing = [number for number, one in zip(numbers, now, strict=True) if one == state.hashes[number]]
        state.next = standing[0] + 1 if standing else max(self._first, numbers[-1])
        orphans = [number for number in numbers if number >= state.next]
        removed = [log for number in orphans for log in reversed(state.logs.pop(number, []))]
        for number in orphans:
            del state.hashes[number]
        return [self._source.decode_log(plain) for plain in removed]

    async def _advance(self, state: _State, head: int, changes: list[Change]) -> bool:
        """Read one step. False when the chain moved under us: the next poll goes on."""
        last = min(head, state.next + self._step - 1)
        anchor = max(0, last - self._window)  # what every rewind can stand on
        marks = [last] if any(number <= anchor for number in state.hashes) else sorted({anchor, last})
        before = await self._source.block_hashes(marks)
        if None in before:
            return False
        try:
            found = await self._source.logs(addresses=self._addresses, topics=self._topics, first=state.next, last=last)
        except RpcError:
            if last == state.next:
                raise
            self._step = max(1, (last - state.next + 1) // 2)  # the endpoint's own limit on blocks or results
            return True
        if await self._source.block_hashes(marks) != before:
            return False
        for log in found:
            changes.append(Change(log, removed=False))
            state.remember(log)
        for mark, one in zip(marks, before, strict=True):
            state.hashes[mark] = str(one)
        state.next = last + 1
        state.forget(state.next - 1 - self._window)
        return True


class _State:
    """The cursor while it is worked on."""

    def __init__(
        self, genesis: str, next_block: int, hashes: dict[int, str], logs: dict[int, list[dict[str, Any]]]
    ) -> None:
        self.genesis = genesis
        self.next = next_block
        self.hashes = hashes
        self.logs = logs

    def remember(self, log: Log) -> None:
        self.hashes[log.block] = log.block_hash
        self.logs.setdefault(log.block, []).append(_plain(log))

    def forget(self, floor: int) -> None:
        """Drop what lies below `floor`, but keep the highest of it: the block every rewind can stand on."""
        below = sorted(number for number in self.hashes if number <= floor)
        for number in below[:-1]:
            del self.hashes[number]
            self.logs.pop(number, None)

    def cursor(self) -> Cursor:
        """JSON keys are strings."""
        return {
            "genesis": self.genesis,
            "next": self.next,
            "hashes": {str(number): one for number, one in sorted(self.hashes.items())},
            "logs": {str(number): logs for number, logs in sorted(self.logs.items())},
        }


def _plain(log: Log) -> dict[str, Any]:
    """The log as an endpoint gives it: what `decode_log` takes, and JSON."""
    return {
        "address": log.address,
        "topics": list(log.topics),
        "data": log.data,
        "blockNumber": hex(log.block),
        "blockHash": log.block_hash,
        "transactionHash": log.transaction,
        "logIndex": hex(log.index),
    }
