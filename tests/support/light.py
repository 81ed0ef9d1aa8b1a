"""A light node in a process of its own: network, catalogue, market gossip and payloads; no chain, no models, no RPC.

    python -m tests.support.light '{"name": "bob", "folder": "…", "bootstrap": ["/ip4/…/p2p/…"]}'

It says one line when it is ready, then answers one JSON line for each that it reads, in the order in which they are
done: `{"id": 1, "do": "tell", "count": 10}` → `{"id": 1, "said": …}` or `{"id": 1, "error": "DeadlineExceeded: …"}`.
What it can do are the methods of `Light`. `tests.support.field` starts it and talks to it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import structlog
import trio

from node.blocks import open_embedded
from node.journal import open_journal
from node.journal.catalog import CatalogStore
from node.journal.peers import Peers
from node.market import gossip as market_gossip
from node.market.catalog.catalog import Catalog, Listed
from node.market.gossip import Gossip
from node.market.kinds import Body, Context
from node.network import NetworkOptions, open_network
from node.observe.events import EventBus
from protocols.codec import encode
from protocols.ids import Cid, PeerId
from protocols.offers.offer import KIND, Centroid, Offer
from tests.support.items import CHAIN_ID, NETWORK, Purse, an_offer
from tests.support.network import seed

DOMAIN = "fashion"
DIM, CENTROIDS = 384, 16  # as offers of some hundred records have them: 6.6 kB signed
SOCKET_STATES = {"01": "established", "02": "syn_sent", "06": "time_wait", "08": "close_wait", "0A": "listen"}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a light node is told at its start. `settings` are constants of modules, by dotted name."""

    name: str
    folder: str
    number: int = 1  # of the wallet
    host: str = "127.0.0.1"
    port: int = 0
    bootstrap: tuple[str, ...] = ()
    target_peers: int = 8
    lifetime_s: int = 3_600  # of the offers it tells
    domains: tuple[str, ...] = (DOMAIN,)
    settings: dict[str, Any] = {}


class Light:
    """The running node; each public method is a word of its language."""

    def __init__(self, plan: Plan, network: Any, catalog: Catalog, gossip: Gossip, blocks: Any) -> None:
        self._plan = plan
        self._network = network
        self._catalog = catalog
        self._gossip = gossip
        self._blocks = blocks
        self._dice = np.random.default_rng(plan.number)
        self._number = time.time_ns() // 1_000
        self._delays: list[float] = []
        self._heard: Counter[str] = Counter()
        self._grown: list[bytearray] = []
        gossip.on_item(self._note)

    def _note(self, listed: Listed[Body]) -> None:
        body = listed.body
        if isinstance(body, Offer) and listed.item.peer != self._network.peer_id:
            self._heard[listed.item.peer] += 1
            if body.title.startswith("told at "):
                self._delays.append(time.monotonic() - float(body.title.removeprefix("told at ")))

    def _offer(self) -> Offer:
        self._number += 1
        now = int(time.time())
        rows = self._dice.integers(-127, 128, (CENTROIDS, DIM), dtype=np.int8)
        return an_offer(
            title=f"told at {time.monotonic()!r}",
            offer_no=self._number,
            domain=self._plan.domains[0],
            sketch=[Centroid(vector=row.tobytes(), weight=62_500, focus=700_000) for row in rows],
            created_at=now,
            expires_at=now + self._plan.lifetime_s,
        )

    async def tell(self, count: int = 1, rate: float = 0.0) -> list[str]:
        """Announce offers, `rate` a second or as fast as the pace allows; their ids."""
        told: list[str] = []
        start = trio.current_time()
        for number in range(count):
            if rate:
                await trio.sleep_until(start + number / rate)
            offer = self._offer()
            told.append((await self._gossip.announce(KIND, encode(offer), offer.domain)).id)
        return told

    async def connect(self, address: str) -> str:
        return str(await self._network.connect(address))

    async def ping(self, peer: str, timeout_s: float = 5.0) -> float:
        return float(await self._network.ping(PeerId(peer), timeout_s=timeout_s))

    async def reach(self, peer: str) -> None:
        await self._network.reach(PeerId(peer))

    async def add(self, size: int) -> str:
        """Keep a payload of so many bytes, the same for the same number."""
        return str(await self._blocks.add(np.random.default_rng(size).bytes(size)))

    async def fetch(self, cid: str, peer: str, size: int, timeout_s: float = 60.0) -> float:
        """Seconds until a payload of `add` was fetched, verified and compared."""
        start = time.perf_counter()
        data = await self._blocks.fetch(Cid(cid), providers=[PeerId(peer)], max_bytes=size, timeout_s=timeout_s)
        taken = time.perf_counter() - start
        assert data == np.random.default_rng(size).bytes(size)
        return taken

    async def catalog(self) -> list[str]:
        """The ids of all open offers."""
        return sorted(one.item.id for one in self._catalog.every(Offer))

    async def peers(self) -> dict[str, list[str]]:
        """The connected peers and their addresses."""
        return {str(peer.peer): list(peer.addresses) for peer in self._network.peers()}

    async def standing(self) -> dict[str, Any]:
        """How others reach it, and at which addresses."""
        standing: dict[str, Any] = msgspec.to_builtins(self._network.standing)
        return {**standing, "addresses": list(self._network.addresses)}

    async def relays(self, peer: str) -> list[str]:
        """The relays that carry its connection to a peer."""
        return [str(relay) for relay in self._network.relays(PeerId(peer))]

    async def listeners(self) -> int:
        return int(self._network.gossip.listeners(f"/schwung/{NETWORK}/offers/{self._plan.domains[0]}"))

    async def delays(self) -> list[float]:
        """Seconds from the telling to the catalogue, of everything that was heard since the last time."""
        taken, self._delays = self._delays, []
        return taken

    async def sweep(self) -> int:
        return await self._catalog.sweep()

    async def leak(self, tasks: int = 0, sockets: int = 0, megabytes: int = 0) -> None:
        """Do what a leak does, so that a test can see that it is seen."""
        for _ in range(tasks):
            trio.lowlevel.spawn_system_task(trio.sleep_forever, name="leaked")
        for _ in range(sockets):
            left, _right = trio.socket.socketpair()
            os.dup(left.fileno())
        self._grown.append(bytearray(os.urandom(1)) * (megabytes * 1_000_000))

    async def census(self) -> dict[str, int]:
        """How many objects of each type the garbage collector knows: what grows between two of them leaks."""
        gc.collect()
        return dict(Counter(type(one).__qualname__ for one in gc.get_objects()))

    async def state(self) -> dict[str, Any]:
        """What a node holds at this moment, beside the task that each connection which came from outside stands on."""
        router = self._network.gossip._router
        tasks = _tasks()
        came = Counter(_run_handler=self._inbound())  # who dialled whom changes with every restart
        return {
            "rss": _resident_bytes(),
            "fds": len(os.listdir("/proc/self/fd")),
            "sockets": dict(_sockets()),
            "tasks": (tasks - came).total(),
            "task_names": dict(tasks - came),
            "cpu": time.process_time(),
            "catalog": sum(1 for _ in self._catalog.every(Offer)),
            "heard": sum(self._heard.values()),
            "peers": len(self._network.peers()),
            "queued": sum(len(queue) for queue in router.peer_queues.values()),
            "sent": router.router.sent,
            "dropped": router.dropped,
            "refused": router.refused,
        }

    def _inbound(self) -> int:
        swarm = self._network._links._swarm
        return sum(not conn.muxed_conn.is_initiator for conns in swarm.connections.values() for conn in conns)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _sockets() -> Counter[str]:
    """Our TCP sockets by their state; those that the kernel still holds for nobody are not ours."""
    links = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    ours = {link[8:-1] for link in links if link.startswith("socket:[")}
    rows = [row.split() for row in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return Counter(SOCKET_STATES.get(row[3], row[3]) for row in rows if row[9] in ours)


def _tasks() -> Counter[str]:
    found: Counter[str] = Counter()
    waiting = [trio.lowlevel.current_root_task()]
    while waiting:
        task = waiting.pop()
        if task is not None:
            found[task.name.rpartition(".")[2]] += 1
            waiting.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return found


async def _answer(light: Light, line: bytes) -> None:
    asked = json.loads(line)
    number, verb = asked.pop("id"), asked.pop("do")
    try:
        word: Callable[..., Awaitable[Any]] = getattr(light, verb)
        answer: dict[str, Any] = {"id": number, "said": await word(**asked)}
    except Exception as err:  # the one who asked decides what it means
        answer = {"id": number, "error": f"{type(err).__name__}: {err}"}
    print(json.dumps(answer), flush=True)


async def _listen(light: Light) -> None:
    """Until the one who asks is gone."""
    left = b""
    async with trio.lowlevel.FdStream(os.dup(0)) as words, trio.open_nursery() as nursery:
        async for data in words:
            *lines, left = (left + data).split(b"\n")
            for line in lines:
                nursery.start_soon(_answer, light, line)
        nursery.cancel_scope.cancel()


async def run(plan: Plan) -> None:
    folder = Path(plan.folder)
    folder.mkdir(parents=True, exist_ok=True)
    options = NetworkOptions(
        network_id=NETWORK,
        chain_id=CHAIN_ID,
        listen=(f"/ip4/{plan.host}/tcp/{plan.port}",),
        bootstrap=plan.bootstrap,
        target_peers=plan.target_peers,
    )
    clock = lambda: int(time.time())  # noqa: E731 - a name for what is passed twice
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(open_journal(folder / "journal.db"))
        store, context = CatalogStore(journal), Context(NETWORK, CHAIN_ID)
        catalog = Catalog(store, context, clock)
        await catalog.load()
        network = await stack.enter_async_context(open_network(options, seed(plan.name), memory=Peers(journal)))
        blocks = await stack.enter_async_context(open_embedded(folder / "blocks", network))
        gossip = Gossip(catalog, store, network, Purse(plan.number), context, EventBus())
        nursery = await stack.enter_async_context(trio.open_nursery())
        await nursery.start(gossip.serve)
        for domain in plan.domains:
            await gossip.follow(domain)
        light = Light(plan, network, catalog, gossip, blocks)
        print(json.dumps({"id": 0, "said": [network.peer_id, *network.addresses]}), flush=True)
        await _listen(light)
        nursery.cancel_scope.cancel()


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    market_gossip.SWEEP_INTERVAL_S = 10.0  # items that live for minutes; a market's live for weeks
    for name, value in plan.settings.items():
        module, _, constant = name.rpartition(".")
        found = importlib.import_module(module)
        assert hasattr(found, constant), name
        setattr(found, constant, value)
    trio.run(run, plan)


if __name__ == "__main__":
    main()
