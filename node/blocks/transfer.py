"""The taking side of `/schwung/payload/1`: one content from several providers at once, leaf by leaf, onto the disk.

The inner nodes come first, from one provider, each proven by the one above it. Then every provider has a few runs of
leaves under way (`taking`), in as much memory as its line is worth (`room`). A leaf that is proven is written to its
place; what broke off goes on there, with anybody, after a restart too.

A provider that sends other bytes, other lengths or too little is left; what it was asked for goes to the others. When
nothing is left to ask for, a run that somebody else is slow with is asked for a second time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
import trio

from node.blocks.cids import RAW, codec_of, matches
from node.blocks.errors import TooLarge
from node.blocks.outline import Drawing
from node.blocks.payloads import RUN_LEAVES, Payload
from node.blocks.room import BASE_RUNS, RUN_BYTES, Line
from node.blocks.runs import Work
from node.blocks.taking import LEAF_S, Fetching, Keeper, Lied, NotHere
from node.network import Dialogue, Network
from node.network.errors import DeadlineExceeded, NetworkError, PeerBusy, PeerRefused, ReplyTooLarge
from node.network.guard.conduct import FALSE
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

Search = Callable[[], Awaitable[Sequence[PeerId]]]

log = structlog.get_logger(__name__)

PROVIDERS = 4  # at once
OPEN_S = 10.0
NODES_S = 20.0  # for one node of at most 16 KiB
ATTEMPTS = 3  # with a provider that breaks off; an attempt that brought something does not count
PAUSE_S = 0.5  # before the next attempt, doubled each time
SEARCH_AFTER_S = 0.5  # what is here by then needs nobody else, and a search beside it slows a short transfer

assert len(encode(Leaves(first=(1 << 22) - 1, count=RUN_LEAVES))) <= MAX_ASK_BYTES


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

    async def run(self, providers: Sequence[PeerId], search: Search | None = None) -> None:
        """Ask the providers until it is complete or none of them is any use; those that a search finds join them.

        Raises TooLarge, BadBlock (NotCanonical) for what the content itself is, StoreFull.
        """
        known = dict.fromkeys(providers)
        waiting, asking = deque(known), 0
        idle = trio.Event()
        trouble: list[Exception] = []

        async def ask_next(nursery: trio.Nursery) -> None:
            nonlocal asking
            try:
                while waiting and not self.complete:
                    await self._use(waiting.popleft())
                if self.complete:
                    nursery.cancel_scope.cancel()
            except Exception as err:  # the content's own trouble ends all; raised below without the nursery's wrapping
                trouble.append(err)
                nursery.cancel_scope.cancel()
            asking -= 1
            if not asking:
                idle.set()

        def begin(nursery: trio.Nursery) -> None:
            nonlocal asking
            for _ in range(min(PROVIDERS - asking, len(waiting))):
                asking += 1
                nursery.start_soon(ask_next, nursery)

        async with trio.open_nursery() as nursery:
            begin(nursery)
            if search is not None:
                with trio.move_on_after(SEARCH_AFTER_S if known else 0):
                    await idle.wait()
                found = [peer for peer in await search() if peer not in known]
                waiting.extend(found)
                begin(nursery)
        if trouble and not self.complete:
            raise trouble[0]

    async def _use(self, provider: PeerId) -> None:
        """Get from one provider what it gives; breaking off is not the end of it."""
        attempts, pause = 0, PAUSE_S
        while not self.complete and not self._network.foreign(provider):
            before = len(self._payload.missing()) if self._payload else -1
            try:
                async with self._open(provider) as (dialogue, line):
                    await self._draw(dialogue)
                    await self._fetch(dialogue, line)
                    await dialogue.send(b"")
            except (NotHere, PeerRefused) as err:
                log.debug("provider has no payload for us", peer=provider, root=self._root, reason=str(err))
                if not isinstance(err, PeerBusy):
                    return
            except (Lied, ReplyTooLarge, ProtocolError) as err:
                log.warning("provider of a payload lied", peer=provider, root=self._root, reason=str(err))
                self._network.blame(provider, FALSE)
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
    async def _open(self, provider: PeerId) -> AsyncIterator[tuple[Dialogue, Line]]:
        """A stream on which the root's node is under way, if the content has nodes."""
        async with self._network.open_stream(provider, PROTOCOL, timeout_s=OPEN_S) as dialogue:
            await dialogue.widen(BASE_RUNS * RUN_BYTES)
            asks = [Open(root=self._root), *([] if codec_of(self._root) == RAW else [Nodes(first=0, count=1)])]
            begun = trio.current_time()
            await dialogue.send_framed(memoryview(b"".join(frame(encode(ask)) for ask in asks)))
            reply = await dialogue.receive(max_bytes=MAX_OPENED_BYTES, timeout_s=OPEN_S)
            now = trio.current_time()
            reason = decode(reply, Opened, max_bytes=MAX_OPENED_BYTES).reason
            if reason:
                raise NotHere(reason)
            yield dialogue, Line(now - begun, now)

    # -- the tree

    async def _draw(self, dialogue: Dialogue) -> None:
        """Learn the tree, unless another provider has told it."""
        if codec_of(self._root) == RAW:
            return
        drawing = Drawing(self._root, self._max_bytes)
        await self._add_node(drawing, dialogue)
        async with self._drawing:
            if self._work is not None:
                return
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

    async def _fetch(self, dialogue: Dialogue, line: Line) -> None:
        if self._work is None or self._payload is None:
            await self._fetch_single(dialogue)
            return
        await Fetching(dialogue, self._payload, self._work, self._keeper, line).run()

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
