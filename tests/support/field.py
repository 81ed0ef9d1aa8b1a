"""Nodes as processes that live through what happens to nodes: cut off, slow, frozen, killed, moved.

    async with open_field(tmp_path) as field:              # or wired=True: a host with a network card of its own each
        hub = await field.start("hub")
        bob = await field.start("bob", bootstrap=[hub.address])
        await bob.ask("tell", count=3)
        await until(lambda: counts(hub, 3))

Everything that was started is ended with the block. The nodes are light ones (`tests.support.light`).
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from tests.support.cables import Card, Switch
from tests.support.jsipfs import _free_port

ROOT = Path(__file__).parents[2]
READY_S = 180.0
ANSWER_S = 60.0
PORT = 4_001


class Refused(Exception):
    """The node answered with an error; the text begins with its kind."""


class Node:
    """A light node, from outside."""

    def __init__(self, name: str, process: trio.Process, card: Card | None, log: Path) -> None:
        self.name = name
        self._log = log
        self.process = process
        self.card = card
        self.peer = ""
        self.address = ""
        self._numbers = itertools.count(1)
        self._asking = trio.Lock()
        self._asked: dict[int, trio.Event] = {0: trio.Event()}
        self._answers: dict[int, dict[str, Any]] = {}

    async def ready(self) -> None:
        with trio.fail_after(READY_S):
            self.peer, self.address = (await self._answer(0))[:2]

    async def ask(self, verb: str, *, within_s: float = ANSWER_S, **words: Any) -> Any:
        """What a method of `Light` returns. Raises Refused, trio.TooSlowError."""
        number = next(self._numbers)
        self._asked[number] = trio.Event()
        assert self.process.stdin is not None
        with trio.fail_after(within_s):
            async with self._asking:
                await self.process.stdin.send_all(json.dumps({"id": number, "do": verb, **words}).encode() + b"\n")
            return await self._answer(number)

    async def _answer(self, number: int) -> Any:
        await self._asked[number].wait()
        del self._asked[number]
        answer = self._answers.pop(number, None)
        if answer is None:
            raise Refused(f"Gone: the process of {self.name} has ended; its log: {self._log.read_text()[-2_000:]}")
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["said"]

    async def hear(self) -> None:
        """Take its answers until it ends."""
        assert self.process.stdout is not None
        left = b""
        try:
            async for data in self.process.stdout:
                *lines, left = (left + data).split(b"\n")
                for answer in map(json.loads, lines):
                    self._answers[answer["id"]] = answer
                    if answer["id"] in self._asked:
                        self._asked[answer["id"]].set()
        except trio.ClosedResourceError:
            pass
        for event in list(self._asked.values()):
            event.set()

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    async def end(self, *, gently: bool = False) -> None:
        """Kill it, or let it close its connections first."""
        with trio.CancelScope(shield=True):
            assert self.process.stdin is not None
            await self.process.stdin.aclose()
            if gently:
                with trio.move_on_after(10):
                    await self.process.wait()
            self.process.kill()
            await self.process.wait()


class Field:
    """The nodes, and the switch between their hosts if they have some."""

    def __init__(self, folder: Path, nursery: trio.Nursery, switch: Switch | None) -> None:
        self.switch = switch
        self.nodes: dict[str, Node] = {}
        self._folder = folder
        self._nursery = nursery
        self._plans: dict[str, dict[str, Any]] = {}
        self._hosts: dict[str, Card] = {}
        self._numbers = 0

    async def start(self, name: str, **plan: Any) -> Node:
        """Start a node; one of an earlier name comes back with its folder, its host, its port and its plan."""
        if name not in self._plans:
            self._plans[name] = {"number": len(self._plans) + 1, "port": PORT if self.switch else _free_port()}
        card = await self.host(name)
        self._plans[name] |= plan | {"name": name, "folder": str(self._folder / name)}
        if card:
            self._plans[name]["host"] = card.address
        command = [sys.executable, "-m", "tests.support.light", json.dumps(self._plans[name])]
        path = self._folder / f"{name}.log"
        with path.open("ab") as log:
            process = await trio.lowlevel.open_process(
                card.within(command) if card else command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
            )
        node = self.nodes[name] = Node(name, process, card, path)
        self._nursery.start_soon(node.hear)
        await node.ready()
        return node

    async def start_all(self, names: Iterable[str], **plan: Any) -> list[Node]:
        """Several at the same time, in order."""
        found: dict[str, Node] = {}

        async def start(name: str) -> None:
            found[name] = await self.start(name, **plan)

        async with trio.open_nursery() as nursery:
            wanted = list(names)
            for name in wanted:
                nursery.start_soon(start, name)
        return [found[name] for name in wanted]

    async def host(self, name: str) -> Card | None:
        """The host on which a node will be, or is; on loopback there is none."""
        if self.switch is None:
            return None
        if name not in self._hosts:
            number = self._numbers = self._numbers + 1
            card = self._hosts[name] = await trio.to_thread.run_sync(Card, number)
            self.switch.cards[card.mac] = card
            self._nursery.start_soon(self.switch.serve, card)
        return self._hosts[name]

    def part(self, *groups: Iterable[Node]) -> None:
        """Nodes of different groups no longer hear one another; no group: all hear all."""
        assert self.switch is not None
        self.switch.part(*([node.card for node in group if node.card] for group in groups))

    async def end(self) -> None:
        for node in self.nodes.values():
            await node.end()
        for card in self.switch.cards.values() if self.switch else ():
            card.remove()


@asynccontextmanager
async def open_field(folder: Path, *, wired: bool = False) -> AsyncIterator[Field]:
    """`wired`: every node on a host of its own, with a card at the switch; without it all are on loopback."""
    async with trio.open_nursery() as nursery:
        switch = Switch() if wired else None
        if switch:
            nursery.start_soon(switch.deliver_late)
        field = Field(folder, nursery, switch)
        try:
            yield field
        finally:
            nursery.cancel_scope.cancel()
            await field.end()


async def until(holds: Callable[[], Awaitable[object]], within_s: float = 60.0, every_s: float = 0.1) -> None:
    """Wait until something holds."""
    with trio.fail_after(within_s):
        while not await holds():
            await trio.sleep(every_s)


async def ask_all(nodes: Iterable[Node], verb: str, **words: Any) -> list[Any]:
    """The answers of several nodes, in their order."""
    asked = list(nodes)
    said: dict[str, Any] = {}

    async def ask(node: Node) -> None:
        said[node.name] = await node.ask(verb, **words)

    async with trio.open_nursery() as nursery:
        for node in asked:
            nursery.start_soon(ask, node)
    return [said[node.name] for node in asked]
