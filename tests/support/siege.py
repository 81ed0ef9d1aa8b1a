"""A place under attack: alice, who is attacked, and bob, who goes on working with her; both as they are in the field.

    async with siege(folder) as scene:
        async with mallory() as foe:
            ...
            await scene.banned(foe)
        await scene.recovers()

`bob` asks alice all the time, and both tell each other things by gossip; what was lost or refused is known at the end.
"""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from statistics import median
from typing import NamedTuple

import trio

from node.journal.bans import Bans
from node.journal.journal import Journal, open_journal
from node.network import Network, NetworkError, open_network
from node.network.guard.conduct import Ban
from protocols.errors import Malformed
from protocols.ids import PeerId
from tests.support.mallory import GONE, Mallory, mallory
from tests.support.network import listening, meet, member, options, seed

ECHO = "/test/echo/1"
TOPIC = "/test/siege"
PAUSE_S = 0.05
SETTLES_S = 60.0
MORE_MB, MORE_FILES, MORE_TASKS = 64, 12, 30  # left over after an attack: buffers and pools that are not grown twice


class Level(NamedTuple):
    """What the process holds."""

    megabytes: float
    files: int
    tasks: int

    @classmethod
    def now(cls) -> Level:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files = len(os.listdir("/proc/self/fd"))
        return cls(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, files, trio.lowlevel.current_statistics().tasks_living)


class Scene:
    """Alice and Bob, and what became of their work."""

    def __init__(self, alice: Network, bob: Network, journal: Journal, before: Level) -> None:
        self.alice = alice
        self.bob = bob
        self.journal = journal
        self.events: list[tuple[str, dict[str, object]]] = []
        self.latencies_s: list[float] = []
        self.failed: list[str] = []
        self.told: dict[str, set[bytes]] = {"alice": set(), "bob": set()}
        self.heard: dict[str, set[bytes]] = {"alice": set(), "bob": set()}
        self._before = before
        self._working = trio.CancelScope()

    async def work(self, nursery: trio.Nursery) -> None:
        """Start to ask and to tell."""
        await listening(self.alice, TOPIC)
        await listening(self.bob, TOPIC)
        nursery.start_soon(self._work)

    def rest(self) -> None:
        """No further questions and messages."""
        self._working.cancel()

    async def _work(self) -> None:
        with self._working:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask)
                nursery.start_soon(self._tell)

    async def _ask(self) -> None:
        while True:
            started = trio.current_time()
            try:
                await self.bob.request(self.alice.peer_id, ECHO, b"bob", timeout_s=20, max_reply_bytes=10)
                self.latencies_s.append(trio.current_time() - started)
            except NetworkError as err:
                self.failed.append(repr(err))
            await trio.sleep(PAUSE_S)

    async def _tell(self) -> None:
        for number in count():
            for name, network in (("alice", self.alice), ("bob", self.bob)):
                data = f"good {name} {number}".encode()
                await network.publish(TOPIC, data)
                self.told[name].add(data)
            await trio.sleep(PAUSE_S)

    async def banned(self, foe: Mallory) -> Ban:
        """Wait until an attacker is banned."""
        with trio.fail_after(SETTLES_S):
            while True:
                found = [ban for ban in self.alice.banned() if ban.peer == foe.peer_id]
                if found:
                    return found[0]
                await trio.sleep(0.05)

    async def unharmed(self) -> None:
        """Nothing of the honest work was lost; all that was told has been heard."""
        asked = len(self.latencies_s)
        with trio.fail_after(SETTLES_S):
            while len(self.latencies_s) < asked + 3:  # it goes on
                await trio.sleep(0.05)
        self.rest()
        with trio.fail_after(SETTLES_S):
            while self.told["bob"] - self.heard["alice"] or self.told["alice"] - self.heard["bob"]:
                await trio.sleep(0.05)
        assert self.failed == []
        assert self.alice.gossip.dropped == 0
        assert self.bob.peer_id not in {ban.peer for ban in self.alice.banned()}
        assert [peer.score for peer in self.alice.peers() if peer.peer == self.bob.peer_id] == [0]

    async def settles(self) -> Level:
        """Wait until memory, files and tasks are near what they were before the attack."""
        level = Level.now()
        with trio.move_on_after(SETTLES_S):
            while not self._near(level := Level.now()):
                await trio.sleep(0.5)
        assert self._near(level), (self._before, level)
        return level

    def _near(self, level: Level) -> bool:
        before = self._before
        return (
            level.megabytes < before.megabytes + MORE_MB
            and level.files <= before.files + MORE_FILES
            and level.tasks <= before.tasks + MORE_TASKS
        )

    @property
    def latency(self) -> str:
        """For the record: nothing is asserted of it."""
        slowest = max(self.latencies_s)
        return (
            f"{len(self.latencies_s)} requests, {1e3 * median(self.latencies_s):.1f} ms median, {slowest:.2f} s slowest"
        )


Attack = Callable[[Mallory, Scene], Awaitable[None]]


async def echo(_peer: PeerId, body: bytes) -> bytes:
    return body


def check(_author: PeerId, data: bytes) -> bool:
    """Good is good, late is nobody's fault, and the rest every honest node refuses."""
    if not data.startswith((b"good ", b"late ")):
        raise Malformed("neither good nor late")
    return data.startswith(b"good ")


@asynccontextmanager
async def siege(folder: Path, **changes: object) -> AsyncIterator[Scene]:
    """Alice with a memory, and Bob at work with her. At the end the work must have been done and nothing be left."""
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(open_journal(folder / "journal.db"))
        events: list[tuple[str, dict[str, object]]] = []
        alice = await stack.enter_async_context(
            open_network(
                options(**changes),
                seed("alice"),
                bans=Bans(journal),
                on_event=lambda topic, data: events.append((topic, data)),
            )
        )
        bob = await stack.enter_async_context(member("bob"))
        alice.serve(ECHO, echo, max_request_bytes=1_000)
        nursery = await stack.enter_async_context(trio.open_nursery())
        hear = {name: await network.subscribe(TOPIC, check) for name, network in (("alice", alice), ("bob", bob))}
        await meet(alice, bob)
        async with mallory("warm-up"):  # what the first foreign host leaves behind is nobody's attack
            pass
        scene = Scene(alice, bob, journal, Level.now())
        scene.events = events

        async def listen(name: str) -> None:
            async for message in hear[name]:
                scene.heard[name].add(message.data)

        nursery.start_soon(listen, "alice")
        nursery.start_soon(listen, "bob")
        await scene.work(nursery)
        yield scene
        await scene.unharmed()
        await scene.settles()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def restarted(folder: Path) -> AsyncIterator[Network]:
    """Alice after a restart: nothing but her journal is left."""
    async with (
        open_journal(folder / "journal.db") as journal,
        open_network(options(), seed("alice"), bans=Bans(journal)) as alice,
    ):
        yield alice


async def repelled(folder: Path, attack: Attack, **changes: object) -> str:
    """The whole story of an attacker that is banned; why it was."""
    async with siege(folder, **changes) as scene:
        async with mallory() as foe:
            await foe.meet(scene.alice)

            async def go_on() -> None:
                while True:
                    with suppress(*GONE):
                        await attack(foe, scene)
                    await trio.sleep(0.01)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(go_on)
                ban = await scene.banned(foe)
                nursery.cancel_scope.cancel()
            assert (await answers(foe, scene.alice))[-1] == b"", "it comes too often to be told again"
        await scene.settles()
        assert ("peer.banned", foe.peer_id) in [(topic, data["peer"]) for topic, data in scene.events]
    print(f"{attack.__name__}: beside it {scene.latency}")
    async with restarted(folder) as alice, mallory() as foe:
        assert [again.peer for again in alice.banned()] == [foe.peer_id]
        assert b"banned until" in (await answers(foe, alice))[0]
    return ban.reason


async def answers(foe: Mallory, alice: Network) -> list[bytes]:
    """What a banned peer hears each time it comes: the reason now and then, or nothing."""
    heard = []
    for _ in range(4):
        try:
            await foe.meet(alice, greet=False)
            heard.append(await foe.greet())
        except GONE:
            heard.append(b"")
        with trio.fail_after(10):
            while foe.is_connected():
                await trio.sleep(0.05)
    assert foe.peer_id not in {peer.peer for peer in alice.peers()}
    return heard
