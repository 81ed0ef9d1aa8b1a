"""Leaves from one provider onto the disk: some asked for, some on their way, in as many buffers as the line is worth.

A run is asked for only when its buffer is free, so a slow disk slows the asking and never the reading.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import trio

from node.blocks.errors import BadBlock
from node.blocks.outline import Outline
from node.blocks.payloads import Payload
from node.blocks.room import BASE_RUNS, RUN_BYTES, Line, Room, buffers
from node.blocks.runs import SLOW_S, Run, Work
from node.network import Dialogue
from node.network.errors import NetworkError
from protocols.codec import encode
from protocols.framing import frame
from protocols.ids import Cid
from protocols.payload import Leaves

LEAF_S = 30.0  # for one leaf: below 9 kB/s a provider is no use


class Lied(Exception):
    """A provider sent what it cannot have from the content that was asked for."""


class NotHere(Exception):
    """A provider does not have it, or not for us."""


class Keeper(NamedTuple):
    """Where what comes goes, and what memory there is for it."""

    begin: Callable[[Outline], Awaitable[Payload]]
    write: Callable[[Payload, int, Sequence[memoryview]], Awaitable[None]]  # raises BadBlock
    single: Callable[[Cid, bytes], Awaitable[None]]
    room: Room


class Fetching:
    """The leaves that one provider gives."""

    def __init__(self, dialogue: Dialogue, payload: Payload, work: Work, keeper: Keeper, line: Line) -> None:
        self._dialogue = dialogue
        self._payload = payload
        self._work = work
        self._keeper = keeper
        self._line = line
        self._free = buffers(BASE_RUNS)
        self.runs = BASE_RUNS
        self._freed = trio.Event()
        self._asked: deque[tuple[Run, memoryview]] = deque()
        self._trouble: Exception | None = None

    async def run(self) -> None:
        """Until nothing is left to ask for. Raises Lied, NotHere, NetworkError, StoreFull."""
        async with trio.open_nursery() as nursery:
            try:
                while not self._work.done and not self._trouble:
                    await self._ask()
                    if self._asked:
                        await self._receive(nursery)
                    else:
                        await self._wait()
            except (Lied, NotHere, NetworkError) as err:
                self._trouble = self._trouble or err
            finally:
                self._keeper.room.give_back(self.runs - BASE_RUNS)
        for run, _ in self._asked:
            self._work.failed(run)
        if self._trouble:
            raise self._trouble

    async def _ask(self) -> None:
        """Ask for as many runs as there is room for, in one go; half of the base is worth waiting for."""
        if self._asked and len(self._free) < BASE_RUNS // 2:
            return
        asks = bytearray()
        while self._free and (run := self._work.take([run for run, _ in self._asked], trio.current_time())):
            buffer = self._free.pop()
            self._asked.append((run, buffer))
            asks += frame(encode(Leaves(first=run.first, count=run.leaves)))
        if asks:
            await self._dialogue.send_framed(memoryview(asks))

    async def _receive(self, nursery: trio.Nursery) -> None:
        run, buffer = self._asked[0]
        leaves, at = [], 0
        for place in range(run.first, run.first + run.leaves):
            size = self._payload.shape.leaf_bytes(place)
            leaves.append(buffer[at : at + size])
            at += size
        odd = await self._dialogue.receive_all(leaves, timeout_s=LEAF_S)
        if odd and not odd.size_bytes:
            raise NotHere(f"leaf {run.first + odd.place} is not there any more")
        if odd:
            raise Lied(f"leaf {run.first + odd.place} of {odd.size_bytes} bytes")
        self._asked.popleft()
        await self._widen(self._line.came(at, trio.current_time()))
        nursery.start_soon(self._store, run, buffer, leaves)

    async def _widen(self, runs: int) -> None:
        more = self._keeper.room.take(runs - self.runs)
        if more:
            self.runs += more
            self._free += buffers(more)
            await self._dialogue.widen(self.runs * RUN_BYTES)

    async def _store(self, run: Run, buffer: memoryview, leaves: Sequence[memoryview]) -> None:
        try:
            if self._work.wanted(run):
                await self._keeper.write(self._payload, run.first, leaves)
        except BadBlock as err:
            self._trouble = Lied(str(err))
            self._work.failed(run)
        except Exception as err:  # the disk's trouble: raised by `run`, without the nursery's wrapping
            self._trouble = err
            self._work.failed(run)
        else:
            self._work.came(run)
        self._free.append(buffer)
        self._freed.set()
        self._freed = trio.Event()

    async def _wait(self) -> None:
        """Until a buffer is free, another provider's run has come or failed, or may be asked for again."""
        freed, changed = self._freed, self._work.changed

        async def wait(event: trio.Event) -> None:
            await event.wait()
            scope.cancel()

        with trio.move_on_after(SLOW_S / 2) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait, freed)
                nursery.start_soon(wait, changed)
