"""Lending our reachability: circuit relay v2 (libp2p/specs/relay/circuit-v2.md), the relay's side.

py-libp2p 0.8.1 has a relay too, and it cannot be left running: it reserves in the name of whatever peer a RESERVE
mentions (relay/circuit_v2/protocol.py 510–511), so one stranger fills it; it looks at a circuit's duration only when
bytes arrive, and at silence never, so an idle circuit stays for good (846–862); at a limit it writes a message into the
middle of the two peers' own bytes (852–856, 880–884); and a stream may go on with messages without end (335). Here a
peer reserves for itself only, everything is counted, paced and ended in time, and what passes is never looked at: the
two peers secure their connection end to end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import trio
from libp2p.network.stream.exceptions import StreamEOF

from node.network.addresses import MAX_ADDRESSES, is_circuit
from node.network.errors import NetworkError
from node.network.guard.allowance import Allowance
from node.network.guard.conduct import MALFORMED
from node.network.host import drop
from node.network.links import Links, relayed
from node.network.options import RelayLimits
from node.network.outside import wire
from node.network.outside.wire import HopMessage, StopMessage
from node.network.streams import BROKEN
from node.network.substrate.substrate import shielded, widen
from protocols.errors import Malformed
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

RESERVATION_S = 3_600  # the specification's example; it ends with the connection in any case
CIRCUITS_OF_ONE = 8  # that one peer opens at the same time: to so many sellers behind this relay
PIECE_BYTES = 64 * 1024
WINDOW_BYTES = 256 * 1024  # on their way to us in each direction of a circuit
IDLE_S = 180.0  # connected nodes ping each other every minute
ASKING = 0.5, 20.0  # reservations and connections that one peer may ask for: a second, and at once
UNTOLD = 2.0  # seconds for a last word


class Pace:
    """Spreads bytes over time, first come first served."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0

    async def take(self, size: int) -> None:
        """Wait until `size` more bytes are due."""
        now = trio.current_time()
        start = max(now, self._free_at)
        self._free_at = start + size / self._rate
        if start > now:
            await trio.sleep_until(start)


class RelayService:
    """The reservations and circuits of one relay."""

    def __init__(
        self,
        links: Links,
        limits: RelayLimits,
        admit: Callable[[PeerId], bool],
        addresses: Callable[[], tuple[str, ...]],
        clock: Callable[[], float],
    ) -> None:
        self._links = links
        self._limits = limits
        self._admit = admit
        self._addresses = addresses
        self._clock = clock
        self._until: dict[PeerId, float] = {}
        self._opened: Counter[PeerId] = Counter()
        self._asking = Allowance(*ASKING)
        self._pace = Pace(limits.bytes_per_s)
        self.carried_bytes = 0

    @property
    def reservations(self) -> int:
        """Peers that may be reached through us."""
        return len(self._until)

    @property
    def circuits(self) -> int:
        """Connections that pass through us now."""
        return self._opened.total()

    def gone(self, peer: PeerId) -> None:
        """A peer has gone, and its reservation with it."""
        self._until.pop(peer, None)

    async def serve(self, stream: Any) -> None:
        """Answer one HOP stream, and carry its circuit if it asks for one."""
        peer = PeerId(str(stream.muxed_conn.peer_id))
        try:
            status = await self._answer(peer, stream)
            if status:
                await wire.send(stream, HopMessage(type=HopMessage.STATUS, status=status))
            await part(stream)
        except (NetworkError, *BROKEN) as err:
            log.debug("relay stream ended", peer=peer, error=str(err))
            await drop(stream)

    async def _answer(self, peer: PeerId, stream: Any) -> int:
        """The status that says no, or 0 when all has been said and done."""
        if relayed(stream.muxed_conn) or not self._admit(peer):
            return wire.PERMISSION_DENIED
        if not self._asking.take(peer.encode(), trio.current_time()):
            return wire.RESOURCE_LIMIT_EXCEEDED
        try:
            asked = await wire.receive(stream, HopMessage)
            target = wire.named(asked) if asked.type == HopMessage.CONNECT else None
        except Malformed:
            self._links.blame(peer, MALFORMED)
            return wire.MALFORMED_MESSAGE
        if asked.type == HopMessage.RESERVE:
            return await self._reserve(peer, stream)
        if target is None:
            return wire.UNEXPECTED_MESSAGE
        return self._bar(peer, target) or await self._connect(stream, peer, target)

    async def _reserve(self, peer: PeerId, stream: Any) -> int:
        now = trio.current_time()
        for name in [name for name, until in self._until.items() if until < now]:
            del self._until[name]
        if peer not in self._until and len(self._until) >= self._limits.reservations:
            return wire.RESOURCE_LIMIT_EXCEEDED
        self._until[peer] = now + RESERVATION_S
        reply = HopMessage(type=HopMessage.STATUS, status=wire.OK, limit=self._limit())
        reply.reservation.expire = int(self._clock()) + RESERVATION_S
        own = [address for address in self._addresses() if not is_circuit(address)]
        reply.reservation.addrs.extend(wire.packed(address) for address in own[:MAX_ADDRESSES])
        await wire.send(stream, reply)
        return 0

    def _bar(self, source: PeerId, target: PeerId) -> int:
        """Why a circuit is not opened, or 0."""
        if source == target:
            return wire.PERMISSION_DENIED
        if self._until.get(target, 0) < trio.current_time() or not self._links.direct(target):
            return wire.NO_RESERVATION
        if self.circuits >= self._limits.circuits or self._opened[source] >= CIRCUITS_OF_ONE:
            return wire.RESOURCE_LIMIT_EXCEEDED
        return 0

    def _limit(self) -> Any:
        return wire.limit(self._limits.circuit_s, self._limits.circuit_bytes)

    async def _connect(self, stream: Any, source: PeerId, target: PeerId) -> int:
        with self._counted(source):
            onward = await self._stop(source, target)
            if onward is None:
                return wire.CONNECTION_FAILED
            over = False
            try:
                await wire.send(stream, HopMessage(type=HopMessage.STATUS, status=wire.OK, limit=self._limit()))
                over = await self._carry(stream, onward)
            finally:
                for leg in (stream, onward):
                    await (part if over else drop)(leg)
        return 0

    async def _stop(self, source: PeerId, target: PeerId) -> Any:
        """A stream to the target that has agreed to take the circuit, or None."""
        onward = None
        try:
            onward = await self._links.stream(target, wire.STOP)
            await wire.send(onward, StopMessage(type=StopMessage.CONNECT, peer=wire.name(source), limit=self._limit()))
            reply = await wire.receive(onward, StopMessage)
            if reply.type == StopMessage.STATUS and reply.status == wire.OK:
                return onward
        except (NetworkError, Malformed, *BROKEN) as err:
            log.debug("circuit not opened", source=source, target=target, error=str(err))
        except BaseException:
            if onward is not None:
                await drop(onward)
            raise
        if onward is not None:
            await drop(onward)
        return None

    @contextmanager
    def _counted(self, source: PeerId) -> Iterator[None]:
        self._opened[source] += 1
        try:
            yield
        finally:
            self._opened[source] -= 1
            if not self._opened[source]:
                del self._opened[source]

    async def _carry(self, one: Any, other: Any) -> bool:
        """Pass bytes both ways until one side ends (True), nothing moves for `IDLE_S`, or a limit is reached."""
        ended = False

        async def carry(source: Any, sink: Any) -> None:
            nonlocal ended
            ended = await self._pass(source, sink, idle) or ended
            nursery.cancel_scope.cancel()  # what passes here is one connection: the end of one direction is its end

        with trio.move_on_after(self._limits.circuit_s), trio.move_on_after(IDLE_S) as idle:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(carry, one, other)
                nursery.start_soon(carry, other, one)
        return ended

    async def _pass(self, source: Any, sink: Any, idle: trio.CancelScope) -> bool:
        """One direction. Returns whether the source ended it."""
        left = self._limits.circuit_bytes
        widen(source, WINDOW_BYTES)
        try:
            while left > 0:
                data = await source.read(PIECE_BYTES)
                if not data:
                    return True
                idle.deadline = trio.current_time() + IDLE_S
                left -= len(data)
                self.carried_bytes += len(data)
                await self._pace.take(len(data))
                await sink.write(data)
        except StreamEOF:
            return True
        except BROKEN:
            return False
        log.info("circuit at its limit", bytes=self._limits.circuit_bytes)
        return False


async def part(stream: Any) -> None:
    """Close a stream so that what was written still arrives."""
    with shielded(UNTOLD) as scope:
        try:
            await stream.close()
        except BROKEN:
            await drop(stream)
    if scope.cancelled_caught:
        await drop(stream)
