"""The taking side of `/schwung/payload/1`: one content from several providers at once, leaf by leaf, onto the disk.

The inner nodes come first, from one provider, each proven by the one above it. Then every provider has a few runs of
leaves under way; a run is asked for only when its buffer is free, so a slow disk slows the asking and never the reading
(`BUFFERS` times 1 MiB a provider is all the memory there is). A leaf that is proven is written to its place; what broke
off goes on there, with anybody, after a restart too.

A provider that sends other bytes, other lengths or too little is left; what it was asked for goes to the others. When
nothing is left to ask for, a run that somebody else is slow with is asked for a second time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from mmap import mmap
from typing import NamedTuple

import structlog
import trio

from node.blocks.cids import RAW, codec_of, matches
from node.blocks.errors import BadBlock, TooLarge
from node.blocks.outline import Drawing, Outline
from node.blocks.payloads import RUN_LEAVES, Payload
from node.network import Dialogue, Network
from node.network.errors import DeadlineExceeded, NetworkError, PeerBusy, PeerRefused, ReplyTooLarge
from protocols.codec import decode, encode
from protocols.errors import ProtocolError
from protocols.framing import frame
from protocols.ids import Cid, PeerId
from protocols.payload import (
    LEAF_BYTES,
    MAX_ASK_BYTES,
    MAX_NODE_BYTES,
    MAX_NODES,
    MAX_OPENED_BYTES,
    PROTOCOL,
    Leaves,
    Nodes,
    Open,
    Opened,
)

log = structlog.get_logger(__name__)

PROVIDERS = 4  # at once
BUFFERS = 8  # runs of 1 MiB of one provider, asked for or on their way to the disk
WINDOW_BYTES = 4 << 20  # of a stream: half of what may be asked for; 80 MB/s at 50 ms
OPEN_S = 10.0
NODES_S = 20.0  # for one node of at most 16 KiB
LEAF_S = 30.0  # for one leaf: below 9 kB/s a provider is no use
SLOW_S = 3.0  # after which a run may be asked for a second time
ATTEMPTS = 3  # with a provider that breaks off; an attempt that brought something does not count
PAUSE_S = 0.5  # before the next attempt, doubled each time

assert len(encode(Leaves(first=(1 << 22) - 1, count=RUN_LEAVES))) <= MAX_ASK_BYTES


class Lied(Exception):
    """A provider sent what it cannot have from the content that was asked for."""


class NotHere(Exception):
    """A provider does not have it, or not for us."""


class Keeper(NamedTuple):
    """Where what comes goes."""

    begin: Callable[[Outline], Awaitable[Payload]]
    write: Callable[[Payload, int, Sequence[memoryview]], Awaitable[None]]  # raises BadBlock
    single: Callable[[Cid, bytes], Awaitable[None]]


class Run(NamedTuple):
    """Consecutive leaves."""

    first: int
    leaves: int


class Asked(NamedTuple):
    """How many providers were asked for a run, and when the last one was."""

    times: int
    at: float


class Work:
    """Which leaves are to be asked for, and who has been asked."""

    def __init__(self, missing: Sequence[int]) -> None:
        self._waiting = deque(_runs(missing))
        self._asked: dict[Run, Asked] = {}
        self.changed = trio.Event()

    @property
    def done(self) -> bool:
        return not self._waiting and not self._asked

    def take(self, own: Sequence[Run], now: float) -> Run | None:
        """The next run for a provider that has `own` under way: one nobody was asked for, or one more of a slow one."""
        if self._waiting:
            run = self._waiting.popleft()
        else:
            slow = (run for run, asked in self._asked.items() if asked.times == 1 and now - asked.at >= SLOW_S)
            again = None if own else next(slow, None)
            if again is None:
                return None
            run = again
        self._asked[run] = Asked(self._asked[run].times + 1 if run in self._asked else 1, now)
        return run

    def wanted(self, run: Run) -> bool:
        """Whether a run that came is still wanted: it may have come from two."""
        return run in self._asked

    def came(self, run: Run) -> None:
        self._asked.pop(run, None)
        self._tell()

    def failed(self, run: Run) -> None:
        """It will not come from one of those that were asked."""
        asked = self._asked.pop(run, None)
        if asked is None:
            return
        if asked.times > 1:
            self._asked[run] = Asked(asked.times - 1, asked.at)
        else:
            self._waiting.appendleft(run)
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


class Transfer:
    """One content on its way here. Used once."""

    def __init__(self, network: Network, root: Cid, max_bytes: int, keeper: Keeper, payload: Payload | None) -> None:
        self._network = network
        self._root = root
        self._max_bytes = max_bytes
        self._keeper = keeper
        self._payload = payload
        self._work = Work(payload.missing()) if payload else None
        self._drawing = trio.Lock()
        self._single = False
        self.liars: set[PeerId] = set()

    @property
    def complete(self) -> bool:
        return self._single or (self._work is not None and self._work.done)

    async def run(self, providers: Sequence[PeerId]) -> None:
        """Ask the providers until it is complete or none of them is any use.

        Raises TooLarge, BadBlock (NotCanonical) for what the content itself is, StoreFull.
        """
        waiting = deque(dict.fromkeys(providers))
        trouble: list[Exception] = []

        async def serve_from_next(nursery: trio.Nursery) -> None:
            try:
                while waiting and not self.complete:
                    await self._use(waiting.popleft())
                if self.complete:
                    nursery.cancel_scope.cancel()
            except Exception as err:  # the content's own trouble ends all; raised below without the nursery's wrapping
                trouble.append(err)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for _ in range(min(PROVIDERS, len(waiting))):
                nursery.start_soon(serve_from_next, nursery)
        if trouble and not self.complete:
            raise trouble[0]

    async def _use(self, provider: PeerId) -> None:
        """Get from one provider what it gives; breaking off is not the end of it."""
        attempts, pause = 0, PAUSE_S
        while not self.complete and not self._network.foreign(provider):
            before = len(self._payload.missing()) if self._payload else -1
            try:
                async with self._open(provider) as dialogue:
                    await self._draw(dialogue)
                    await self._fetch(dialogue)
                    await dialogue.send(b"")
            except (NotHere, PeerRefused) as err:
                log.debug("provider has no payload for us", peer=provider, root=self._root, reason=str(err))
                if not isinstance(err, PeerBusy):
                    return
            except (Lied, ReplyTooLarge, ProtocolError) as err:
                log.warning("provider of a payload lied", peer=provider, root=self._root, reason=str(err))
                self.liars.add(provider)
                return
            except NetworkError as err:
                log.info("provider of a payload broke off", peer=provider, root=self._root, reason=str(err))
                if isinstance(err, DeadlineExceeded):
                    return
            if self.complete:
                return
            if self._payload and 0 <= before != len(self._payload.missing()):
                attempts, pause = 0, PAUSE_S
            attempts += 1
            if attempts >= ATTEMPTS:
                return
            await trio.sleep(pause)
            pause *= 2

    @asynccontextmanager
    async def _open(self, provider: PeerId) -> AsyncIterator[Dialogue]:
        async with self._network.open_stream(provider, PROTOCOL, timeout_s=OPEN_S) as dialogue:
            dialogue.widen(WINDOW_BYTES)
            await dialogue.send(encode(Open(root=self._root)))
            reply = await dialogue.receive(max_bytes=MAX_OPENED_BYTES, timeout_s=OPEN_S)
            reason = decode(reply, Opened, max_bytes=MAX_OPENED_BYTES).reason
            if reason:
                raise NotHere(reason)
            yield dialogue

    # -- the tree

    async def _draw(self, dialogue: Dialogue) -> None:
        """Learn the tree, unless another provider has told it."""
        if codec_of(self._root) == RAW:
            return
        async with self._drawing:
            if self._work is not None:
                return
            drawing = Drawing(self._root, self._max_bytes)
            while drawing.drawn < drawing.nodes:
                ask = Nodes(first=drawing.drawn, count=min(MAX_NODES, drawing.nodes - drawing.drawn))
                await dialogue.send(encode(ask))
                for _ in range(ask.count):
                    await self._add_node(drawing, dialogue)
            self._payload = await self._keeper.begin(drawing.outline())
            self._work = Work(self._payload.missing())

    async def _add_node(self, drawing: Drawing, dialogue: Dialogue) -> None:
        block = await dialogue.receive(max_bytes=MAX_NODE_BYTES, timeout_s=NODES_S)
        if not drawing.proves(block):
            raise Lied("a node that is not the one asked for")
        drawing.add(block)

    # -- the leaves

    async def _fetch(self, dialogue: Dialogue) -> None:
        if self._work is None or self._payload is None:
            await self._fetch_single(dialogue)
            return
        await Fetching(dialogue, self._payload, self._work, self._keeper).run()

    async def _fetch_single(self, dialogue: Dialogue) -> None:
        await dialogue.send(encode(Leaves(first=0, count=1)))
        room = memoryview(bytearray(LEAF_BYTES))
        size = await dialogue.receive_into(room, timeout_s=LEAF_S)
        leaf = bytes(room[:size])
        if not matches(self._root, leaf):
            raise Lied("a leaf that is not the one asked for")
        if size > self._max_bytes:
            raise TooLarge(f"{self._root} has {size} bytes, {self._max_bytes} were expected at most")
        await self._keeper.single(self._root, leaf)
        self._single = True


class Fetching:
    """Leaves from one provider: some asked for, some on their way to the disk, all in `BUFFERS` buffers."""

    def __init__(self, dialogue: Dialogue, payload: Payload, work: Work, keeper: Keeper) -> None:
        self._dialogue = dialogue
        self._payload = payload
        self._work = work
        self._keeper = keeper
        self._free = [memoryview(bytearray()) for _ in range(BUFFERS)]  # filled with room when first used
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
        for run, _ in self._asked:
            self._work.failed(run)
        if self._trouble:
            raise self._trouble

    async def _ask(self) -> None:
        """Ask for as many runs as there is room for, in one go; half of the room is worth waiting for."""
        if self._asked and len(self._free) < BUFFERS // 2:
            return
        asks = bytearray()
        while self._free and (run := self._work.take([run for run, _ in self._asked], trio.current_time())):
            buffer = self._free.pop() or memoryview(mmap(-1, RUN_LEAVES * LEAF_BYTES))  # pages
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
        nursery.start_soon(self._store, run, buffer, leaves)

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


def _runs(places: Sequence[int]) -> list[Run]:
    """Consecutive places, at most `RUN_LEAVES` in a run."""
    runs: list[Run] = []
    for place in places:
        last = runs[-1] if runs else None
        if last and last.first + last.leaves == place and last.leaves < RUN_LEAVES:
            runs[-1] = Run(last.first, last.leaves + 1)
        else:
            runs.append(Run(place, 1))
    return runs
