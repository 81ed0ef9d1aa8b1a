"""Two processes: one whose catalogue is ahead, one that has missed something and meets it."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from node.journal import open_journal
from node.market.catalog.catalog import Catalog
from node.market.gossip import Gossip
from node.market.kinds import Context
from node.observe.events import EventBus
from tests.bench.catalog.full import opened
from tests.support.crowd import DOMAINS
from tests.support.items import CHAIN_ID, NETWORK, Purse
from tests.support.network import member

RAW = "/schwung/bench/raw/1"


class Counted:
    """A network that counts what is asked and answered."""

    def __init__(self, network: object) -> None:
        self._network = network
        self.requests = 0
        self.bytes = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._network, name)

    async def request(self, peer: str, protocol: str, body: bytes, **bounds: object) -> bytes:
        reply: bytes = await self._network.request(peer, protocol, body, **bounds)  # type: ignore[attr-defined]
        self.requests += 1
        self.bytes += len(body) + len(reply)
        return reply


async def stand(stack: AsyncExitStack, path: Path, name: str) -> tuple[Catalog, Gossip, Counted]:
    """A node with this journal."""
    journal = await stack.enter_async_context(open_journal(path))
    store, catalog = opened(journal)
    await catalog.load()
    wire = Counted(await stack.enter_async_context(member(name)))
    gossip = Gossip(catalog, store, wire, Purse(9), Context(NETWORK, CHAIN_ID), EventBus())  # type: ignore[arg-type]
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    await nursery.start(gossip.serve)
    for domain in DOMAINS:
        await gossip.follow(domain)
    return catalog, gossip, wire


async def tell(path: Path) -> None:
    """The other process: a node with this journal, until its input ends."""
    async with AsyncExitStack() as stack:
        catalog, _, wire = await stand(stack, path, "there")
        whole = bytes(100 << 20)

        async def raw(_peer: str, body: bytes) -> bytes:
            return whole[: int(body)]

        wire.serve(RAW, raw, max_request_bytes=100, concurrency=1)  # type: ignore[operator]
        print(wire.addresses[0], catalog.count(), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


async def behind(here: Path, there: Path, what: str) -> None:
    """This process meets one whose catalogue is ahead."""
    command = [sys.executable, "-m", "tests.bench.catalog", "--tell", str(there)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        line = ""
        while not line.startswith("/"):
            line = other.stdout.readline()  # type: ignore[union-attr]
        address, total = line.split()
        async with AsyncExitStack() as stack:
            catalog, _, wire = await stand(stack, here, "away")
            missed, known = int(total) - catalog.count(), sum(catalog.quota.sizes.values())
            begun, used = time.perf_counter(), time.process_time()
            await wire.connect(address)  # type: ignore[operator]
            while catalog.count() < int(total):
                await trio.sleep(0.01)
            took, used = time.perf_counter() - begun, time.process_time() - used
            size, requests = wire.bytes, wire.requests
            beside = size - (sum(catalog.quota.sizes.values()) - known)
            peer = wire.peers()[0].peer  # type: ignore[operator]
            begun = time.perf_counter()
            await wire.request(peer, RAW, str(size).encode(), timeout_s=60, max_reply_bytes=100 << 20)
            raw = time.perf_counter() - begun
        other.stdin.close()  # type: ignore[union-attr]
    print(
        f"{what}: {missed} missed in {took:.2f} s ({used:.2f} of this core), {size / 1e6:.3f} MB in {requests} "
        f"requests, {beside / 1e3:.0f} kB of it beside the items, where the ids alone are {int(total) * 32 / 1e3:.0f}; "
        f"one raw stream of the bytes {raw:.2f} s, ratio {took / raw:.0f}"
    )
