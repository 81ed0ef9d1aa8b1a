"""The giving side of `/schwung/payload/1`: leaves and nodes of what is pinned here, a few streams at a time.

Every ask is bounded before it is read and while it is answered; a peer that asks for nothing or takes nothing is left,
and one that has taken more than its allowance is told to come back. The disk is read one run ahead of the stream, so a
stream costs two runs of memory (2 MiB), whatever is asked for.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from itertools import cycle
from typing import Protocol, TypeVar

import structlog
import trio

from node.blocks.cids import RAW, codec_of
from node.blocks.payloads import RUN_LEAVES, Payload
from node.blocks.store import BlockStore
from node.network import Dialogue, Network
from node.network.errors import NetworkError, Refuse
from protocols.codec import decode, encode
from protocols.errors import ProtocolError
from protocols.framing import HEADER_BYTES, frame
from protocols.ids import Cid, PeerId
from protocols.payload import LEAF_BYTES, MAX_ASK_BYTES, PROTOCOL, Leaves, Nodes, Open, Opened

log = structlog.get_logger(__name__)

STREAMS = 16
STREAMS_PER_PEER = 4  # one for each of a peer's transfers
IDLE_S = 60.0  # without an ask
TAKE_S = 60.0  # for 256 KiB; a peer that takes less than 4 kB/s holds a stream from others
ALLOWANCE_BYTES = 64 << 30  # that one peer may take at once, and
REFILL_BYTES_PER_S = 8 << 20  # … how fast it grows again: a peer cannot spend our line for ever
REMEMBERED = 4_096  # peers whose allowance is known

T = TypeVar("T")


class Disk(Protocol):
    """Runs blocking work in a worker thread."""

    async def __call__(self, work: Callable[[], T]) -> T: ...


class Allowances:
    """How many bytes each peer may still take. A debt is possible: the last payload is not cut off in the middle."""

    def __init__(self, burst: float = ALLOWANCE_BYTES, rate: float = REFILL_BYTES_PER_S) -> None:
        self._burst = burst
        self._rate = rate
        self._left: OrderedDict[PeerId, tuple[float, float]] = OrderedDict()

    def wait_s(self, peer: PeerId, now: float) -> float:
        """Seconds until the peer may take again; 0 when it may now."""
        return max(0.0, -self._now(peer, now) / self._rate)

    def charge(self, peer: PeerId, count: int, now: float) -> None:
        """The peer has taken `count` bytes."""
        self._left[peer] = self._now(peer, now) - count, now
        self._left.move_to_end(peer)
        while len(self._left) > REMEMBERED:
            self._left.popitem(last=False)

    def _now(self, peer: PeerId, now: float) -> float:
        left, at = self._left.get(peer, (self._burst, now))
        return min(self._burst, left + (now - at) * self._rate)


class Serving:
    """Answers the streams of `/schwung/payload/1`."""

    def __init__(self, store: BlockStore, disk: Disk, allowances: Allowances | None = None) -> None:
        self._store = store
        self._disk = disk
        self._allowances = allowances or Allowances()
        self.sent_bytes = 0

    def listen(self, network: Network) -> None:
        network.serve_stream(PROTOCOL, self.handle, concurrency=STREAMS, per_peer=STREAMS_PER_PEER)

    async def handle(self, peer: PeerId, dialogue: Dialogue) -> None:
        """One stream: a root, then asks until an empty one."""
        opening = await dialogue.receive(max_bytes=MAX_ASK_BYTES, timeout_s=IDLE_S)
        root = Cid(decode(opening, Open, max_bytes=MAX_ASK_BYTES).root)
        reason = self._why_not(peer) or await self._disk(lambda: self._find(root))
        await dialogue.send(encode(Opened(reason=reason)), timeout_s=TAKE_S)
        if reason:
            await dialogue.finish()
            return
        answers = _Answers(self._store, root, self._disk)
        send, receive = trio.open_memory_channel[memoryview](0)
        trouble: list[Exception] = []

        async def read() -> None:
            async with send:
                try:
                    while ask := await dialogue.receive(max_bytes=MAX_ASK_BYTES, timeout_s=IDLE_S):
                        await answers.give(decode(ask, Nodes | Leaves, max_bytes=MAX_ASK_BYTES), send.send)
                except (NetworkError, ProtocolError, Refuse) as err:
                    trouble.append(err)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            try:
                async for data in receive:
                    await self._send(dialogue, data)
            except NetworkError as err:
                trouble.append(err)
                nursery.cancel_scope.cancel()
        if trouble:
            raise trouble[0]  # without the nursery's wrapping, for the border that logs it

    def _why_not(self, peer: PeerId) -> str:
        wait = self._allowances.wait_s(peer, trio.current_time())
        return f"you have taken a lot: come back in {math.ceil(wait)} s" if wait else ""

    def _find(self, root: Cid) -> str:
        """Only what we made or chose to keep is served: a pin or a share says so."""
        payload = self._store.payloads.find(root)
        if payload is not None and payload.complete and self._store.offered(root):
            payload.path.touch()
            return ""
        single = codec_of(root) == RAW and self._store.offered(root) and self._store.has(root)
        return "" if single else "not here"

    async def _send(self, dialogue: Dialogue, data: memoryview) -> None:
        await dialogue.send_framed(data, timeout_s=TAKE_S)
        self.sent_bytes += len(data)
        self._allowances.charge(dialogue.peer, len(data), trio.current_time())


class _Answers:
    """The frames that answer asks about one root."""

    def __init__(self, store: BlockStore, root: Cid, disk: Disk) -> None:
        self._store = store
        self._root = root
        self._disk = disk
        self._payload = store.payloads.find(root)
        self._runs = cycle([_Run(), _Run()])  # one is being sent while the other is filled

    async def give(self, ask: Nodes | Leaves, send: Callable[[memoryview], Awaitable[None]]) -> None:
        """Raises Refuse for what a content of this shape has not."""
        payload, end = self._payload, ask.first + ask.count
        if isinstance(ask, Nodes):
            if payload is None or end > payload.shape.nodes:
                raise Refuse("nodes that are not there")
            for _, block in payload.outline.nodes[ask.first : end]:
                await send(memoryview(frame(block)))
            return
        if end > (payload.shape.leaves if payload else 1):
            raise Refuse("leaves that are not there")
        if payload is None:
            await send(memoryview(frame(await self._disk(lambda: self._store.get(self._root) or b""))))
            return
        for first in range(ask.first, end, RUN_LEAVES):
            await send(await self._read(payload, first, min(end, first + RUN_LEAVES)))

    async def _read(self, payload: Payload, first: int, end: int) -> memoryview:
        run = next(self._runs)
        return await self._disk(lambda: run.fill(payload, first, end))


class _Run:
    """Room for consecutive leaves, each behind its frame's header."""

    def __init__(self) -> None:
        self._room = memoryview(bytearray())

    def fill(self, payload: Payload, first: int, end: int) -> memoryview:
        """The leaves as frames, unchecked, for the fetcher checks; empty frames when they cannot be read."""
        if not self._room:
            self._room = memoryview(bytearray(RUN_LEAVES * (HEADER_BYTES + LEAF_BYTES)))
        leaves, at = [], 0
        for place in range(first, end):
            size = payload.shape.leaf_bytes(place)
            self._room[at : at + HEADER_BYTES] = size.to_bytes(HEADER_BYTES, "big")
            at += HEADER_BYTES + size
            leaves.append(self._room[at - size : at])
        if all(payload.have[first:end]) and payload.read(first, leaves):
            return self._room[:at]
        return memoryview(bytes(HEADER_BYTES * (end - first)))
