"""Hosts that let nobody in, as behind a NAT: three kernels' worth of processes, real TCP, a relay among them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support import cables
from tests.support.field import Field, Node, open_field, until

pytestmark = pytest.mark.skipif(bool(cables.missing()), reason=cables.missing() or "hosts can be made")

PAYLOAD = 3_000_000


async def walled(field: Field, name: str, hub: Node) -> Node:
    """A host that can call, and cannot be called."""
    node = await field.start(name)
    assert node.card is not None
    node.card.walled = True
    await node.ask("connect", address=hub.address)
    return node


def stands(node: Node, state: str, relays: list[str]) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        standing = await node.ask("standing")
        return bool(standing["state"] == state and standing["relays"] == relays)

    return look


async def test_hosts_behind_walls_are_reached_through_a_relay(tmp_path: Path) -> None:
    async with open_field(tmp_path, wired=True) as field:
        hub = await field.start("hub")
        ned, nora = await walled(field, "ned", hub), await walled(field, "nora", hub)
        for node in (ned, nora):
            await until(stands(node, "private", [hub.peer]))
        await until(stands(hub, "public", []))  # as those behind the walls could tell it
        way = f"{hub.address}/p2p-circuit/p2p/{ned.peer}"
        assert way in (await ned.ask("standing"))["addresses"]

        assert 0 < await nora.ask("ping", peer=ned.peer, timeout_s=20.0) < 10
        assert await nora.ask("relays", peer=ned.peer) == [hub.peer]
        cid = await ned.ask("add", size=PAYLOAD)
        await nora.ask("fetch", cid=cid, peer=ned.peer, size=PAYLOAD)

        # who can be called is called by ned himself, and needs the relay no longer
        alice = await field.start("alice")
        await alice.ask("connect", address=hub.address)
        await alice.ask("ping", peer=ned.peer, timeout_s=20.0)
        await until(lambda: no_relay(alice, ned))

        await hub.end()  # with it go the ways through it, and not the others: alice lends her own by now
        await until(stands(ned, "private", [alice.peer]))
        assert await alice.ask("ping", peer=ned.peer) < 10

        hub = await field.start("hub")
        for node in (ned, nora):
            await until(lambda node=node: has_place(node, hub))  # type: ignore[misc]
        await until(lambda: pings(nora, ned))


async def no_relay(node: Node, other: Node) -> bool:
    return not await node.ask("relays", peer=other.peer) and not await other.ask("relays", peer=node.peer)


async def has_place(node: Node, relay: Node) -> bool:
    return relay.peer in (await node.ask("standing"))["relays"]


async def pings(node: Node, other: Node) -> bool:
    try:
        return bool(await node.ask("ping", peer=other.peer, timeout_s=10.0) > 0)
    except Exception:
        return False
