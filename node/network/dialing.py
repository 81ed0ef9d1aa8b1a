"""Keeping a node connected.

Bootstrap peers and wanted ones are redialled with backoff; when peers are few, remembered and introduced ones are
tried. So are those that listen to what we listen to, however many others are connected: items of a domain are carried
by those who follow it, and a node among strangers would never hear of any.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Sequence
from typing import Protocol

import structlog
import trio

from node.network.errors import Foreigner, NetworkError
from node.network.peers import PeerBook, PeerMemory
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
FOREIGN_WAIT_S = 600.0  # a bootstrap peer of another network will not change its mind soon
LOOK_AROUND_S = 30.0
YOUNG_S = 60.0  # a node that has just come looks around more often: gossip only flows between neighbours
LOOK_AROUND_YOUNG_S = 2.0
COMPANY = 4  # listeners to each of our topics; the mesh of GossipSub mends itself below this (degree_low)
AT_ONCE = 4
PULSE_INTERVAL_S = 60.0
PULSE_S = 15.0

Found = list[tuple[PeerId, tuple[str, ...]]]


class Meeting(Protocol):
    """How peers are met."""

    def reach(self, peer: PeerId, addresses: tuple[str, ...]) -> Awaitable[None]: ...
    def ensure(self, peer: PeerId, hints: tuple[str, ...]) -> Awaitable[None]: ...
    def ask_around(self, topics: Sequence[str]) -> Awaitable[Found]: ...


class Listeners(Protocol):
    """What we listen to, and who does with us."""

    def lonely(self, enough: int) -> list[str]: ...
    def listens(self, peer: PeerId, topic: str) -> bool: ...


class Rendezvous(Protocol):
    """Where listeners are found whom nobody around knows."""

    def listeners(self, topic: str) -> Awaitable[Found]: ...


class Links(Protocol):
    """How a connection is felt and ended."""

    def ping(self, peer: PeerId) -> Awaitable[float]: ...
    def hang_up(self, peer: PeerId) -> Awaitable[None]: ...


def next_wait(failures: int, rng: random.Random) -> float:
    """Seconds before the next try: doubling from 1 to 60, ±25 % so that a restarted bootstrap is not stormed."""
    wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures - 1, 10))
    return wait * rng.uniform(0.75, 1.25)


class _Want:
    def __init__(self, addresses: tuple[str, ...], due: float) -> None:
        self.addresses = addresses
        self.due = due
        self.failures = 0
        self.dialling = False


class Keeper:
    """Runs as one task of the network."""

    def __init__(
        self,
        me: PeerId,
        book: PeerBook,
        memory: PeerMemory,
        meeting: Meeting,
        links: Links,
        listeners: Listeners,
        rendezvous: Rendezvous,
        *,
        target: int,
        most: int,
    ) -> None:
        """Aims at `target` peers of any kind (0: none is dialled for company), `COMPANY` a topic, and `most` in all."""
        self._me = me
        self._book = book
        self._memory = memory
        self._meeting = meeting
        self._links = links
        self._listeners = listeners
        self._rendezvous = rendezvous
        self._target = target
        self._most = most
        self._wants: dict[PeerId, _Want] = {}
        self._unwanted: set[PeerId] = set()
        self._looking = False
        self._woken = trio.Event()
        self._rng = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._slots = trio.CapacityLimiter(AT_ONCE)
        self._look = self._search = 0.0
        self._young_until = math.inf

    def want(self, peer: PeerId, addresses: tuple[str, ...]) -> None:
        """Stay connected to a peer from now on."""
        if peer != self._me:
            self._unwanted.discard(peer)
            self._wants[peer] = _Want(addresses, trio.current_time())
            self.wake()

    def drop(self, peer: PeerId) -> None:
        """Stop wanting a peer, and do not dial it for company either."""
        self._wants.pop(peer, None)
        self._unwanted.add(peer)

    def known(self, peer: PeerId) -> tuple[str, ...]:
        """The addresses of a wanted peer."""
        want = self._wants.get(peer)
        return want.addresses if want else ()

    def lost(self, peer: PeerId) -> None:
        """A connection ended: a wanted peer is redialled soon."""
        want = self._wants.get(peer)
        if want and not want.dialling:
            want.due = trio.current_time() + self._rng.uniform(0.1, FIRST_WAIT_S)
        self.wake()

    def look_around(self) -> None:
        """Look for company at once, and often for a while: something new is listened to."""
        self._look = 0.0
        self._young_until = trio.current_time() + YOUNG_S
        self.wake()

    def wake(self) -> None:
        """Look at once what is due."""
        self._woken.set()

    async def run(self) -> None:
        self._young_until = trio.current_time() + YOUNG_S
        async with trio.open_nursery() as nursery:
            while True:
                now = trio.current_time()
                for peer, want in self._wants.items():
                    if want.due <= now and not want.dialling and peer not in self._book:
                        want.dialling = True
                        nursery.start_soon(self._attempt, peer, want)
                if self._look <= now and self._needs_company():
                    self._look = now + (LOOK_AROUND_YOUNG_S if now < self._young_until else LOOK_AROUND_S)
                    nursery.start_soon(self._look_around)
                self._woken = trio.Event()
                with trio.move_on_at(self._next_due()):
                    await self._woken.wait()

    def _next_due(self) -> float:
        dues = [w.due for p, w in self._wants.items() if not w.dialling and p not in self._book]
        look = self._look if self._needs_company() else math.inf
        return max(min([look, *dues]), trio.current_time() + 0.05)

    def _needs_company(self) -> bool:
        return len(self._book) < self._target or bool(self._lonely())

    def _lonely(self) -> list[str]:
        return self._listeners.lonely(COMPANY) if self._target and len(self._book) < self._most else []

    async def _attempt(self, peer: PeerId, want: _Want) -> None:
        try:
            async with self._slots:
                await self._meeting.ensure(peer, want.addresses)
            want.failures = 0
        except Foreigner as err:
            log.warning("peer of another network", peer=peer, reason=str(err))
            want.due = trio.current_time() + FOREIGN_WAIT_S
        except NetworkError as err:
            want.failures += 1
            want.due = trio.current_time() + next_wait(want.failures, self._rng)
            if want.failures == 1:
                log.info("peer not reached, trying on", peer=peer, error=str(err))
        finally:
            want.dialling = False
            self.wake()

    async def _look_around(self) -> None:
        if self._looking:  # the last round still waits for dead addresses
            return
        self._looking = True
        try:
            topics = self._lonely()
            if topics:
                found = await self._meeting.ask_around(topics) or await self._searched(topics)
                await self._try_all(list(dict(found).items())[: COMPANY * len(topics)], self._most)
            if len(self._book) < self._target:
                known = await self._memory.good(2 * self._target) + await self._meeting.ask_around([])
                await self._try_all(list(dict(known).items()), self._target)
        finally:
            self._looking = False

    async def _searched(self, topics: Sequence[str]) -> Found:
        """Nobody around knows a listener: one topic at a time, for a search asks dozens of peers."""
        now = trio.current_time()
        if now < self._search:
            return []
        self._search = now + LOOK_AROUND_S
        return await self._rendezvous.listeners(self._rng.choice(topics))

    async def _try_all(self, found: Found, most: int) -> None:
        async with trio.open_nursery() as nursery:
            for peer, addresses in found:
                nursery.start_soon(self._try, peer, addresses, most)

    async def _try(self, peer: PeerId, addresses: tuple[str, ...], most: int) -> None:
        if peer in (self._me, *self._wants, *self._unwanted):
            return
        async with self._slots:
            dialling = self._slots.borrowed_tokens  # this one counted
            if peer in self._book or len(self._book) + dialling > most:
                return
            try:
                await self._meeting.reach(peer, addresses)
            except NetworkError as err:
                log.debug("peer not reached", peer=peer, error=str(err))
                await self._memory.failed(peer)

    async def feel_pulse(self) -> None:
        """Ping every peer now and then: a frozen one, or one behind a pulled cable, looks connected for hours."""
        while True:
            await trio.sleep(PULSE_INTERVAL_S)
            async with trio.open_nursery() as nursery:
                for peer in self._book.all():
                    nursery.start_soon(self._feel, peer.peer)

    async def _feel(self, peer: PeerId) -> None:
        with trio.move_on_after(PULSE_S):
            try:
                await self._links.ping(peer)
            except NetworkError as err:
                log.debug("no pulse", peer=peer, error=str(err))
            else:
                return
        log.info("peer does not answer, hanging up", peer=peer)
        await self._links.hang_up(peer)
