"""What happens to nodes in the field: cut off, slow, frozen, unplugged, moved, and many coming back at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support import cables
from tests.support.field import Field, Node, Refused, ask_all, open_field, until

pytestmark = pytest.mark.skipif(bool(cables.missing()), reason=cables.missing() or "all is there")

LIMIT_S = 150.0  # a busy machine takes its time
QUICK_PULSE = {"node.network.dialing.PULSE_INTERVAL_S": 1.0, "node.network.dialing.PULSE_S": 3.0}
PAYLOAD_BYTES = 20_000_000


@asynccontextmanager
async def field_of(folder: Path, *names: str, **plan: Any) -> AsyncIterator[tuple[Field, list[Node]]]:
    """Nodes on hosts of their own that have met at the first one and hear one another."""
    with trio.fail_after(LIMIT_S):
        async with open_field(folder, wired=True) as field:
            hub = await field.start(names[0], **plan)
            nodes = [hub, *await field.start_all(names[1:], bootstrap=[hub.address], **plan)]
            await until(lambda: hear(nodes, len(nodes) - 1))
            yield field, nodes


async def hear(nodes: Iterable[Node], listeners: int) -> bool:
    return all(count >= listeners for count in await ask_all(nodes, "listeners"))


async def have(nodes: Iterable[Node], ids: Iterable[str]) -> bool:
    wanted = set(ids)
    return all(wanted <= set(held) for held in await ask_all(nodes, "catalog"))


async def knows(node: Node, other: Node) -> bool:
    return other.peer in await node.ask("peers")


async def test_two_halves_that_were_parted_have_all_when_they_meet_again(tmp_path: Path) -> None:
    async with field_of(tmp_path, "ann", "bob", "cat", "dan", settings=QUICK_PULSE) as (field, nodes):
        ann, bob, cat, dan = nodes
        early = await ann.ask("tell", count=3)
        await until(lambda: have(nodes, early))
        field.part([ann, bob], [cat, dan])
        here, there = await ann.ask("tell", count=5), await dan.ask("tell", count=5)
        await until(lambda: have([ann, bob], here))
        await until(lambda: have([cat, dan], there))
        assert not set(here) & set(await cat.ask("catalog"))
        assert not set(there) & set(await bob.ask("catalog"))

        async def apart() -> bool:
            return all(len(peers) == 1 for peers in await ask_all(nodes, "peers"))

        await until(apart)  # what is told from now on is not even on its way
        here += await bob.ask("tell", count=5)
        there += await cat.ask("tell", count=5)
        field.part()
        await until(lambda: have(nodes, [*early, *here, *there]))


async def test_a_slow_and_lossy_line_carries_everything(tmp_path: Path) -> None:
    """Half a second there and back would do; this one has 200 ms and loses one frame of a hundred each way."""
    with trio.fail_after(LIMIT_S):
        async with open_field(tmp_path, wired=True) as field:
            near = await field.start("near")
            before = await near.ask("tell", count=20)
            card = await field.host("far")
            assert card is not None
            assert field.switch is not None
            card.delay_s, card.loss = 0.1, 0.01
            far = await field.start("far", bootstrap=[near.address])
            await until(lambda: hear([near, far], 1))
            assert await far.ask("ping", peer=near.peer) > 0.19, "the line is slow indeed"
            await until(lambda: have([far], before))  # catching up
            after = await near.ask("tell", count=20) + await far.ask("tell", count=20)  # gossip, both ways
            await until(lambda: have([near, far], after))
            cid = await near.ask("add", size=PAYLOAD_BYTES)
            await far.ask("fetch", cid=cid, peer=near.peer, size=PAYLOAD_BYTES, timeout_s=90, within_s=100)
            assert field.switch.lost > 10, "the line is lossy indeed"


async def test_a_frozen_node_holds_up_nobody_and_catches_up_when_it_is_back(tmp_path: Path) -> None:
    async with field_of(tmp_path, "ann", "bob", "ice", settings=QUICK_PULSE) as (_, (ann, bob, ice)):
        ice.freeze()
        try:
            told = await ann.ask("tell", count=10)
            await until(lambda: have([bob], told))
            with pytest.raises(Refused, match=r"DeadlineExceeded|PeerUnreachable|PeerVanished"):
                await ann.ask("ping", peer=ice.peer, timeout_s=1.0)
            assert await ann.ask("ping", peer=bob.peer, timeout_s=30.0) > 0

            async def dropped() -> bool:
                return not (await knows(ann, ice) or await knows(bob, ice))

            await until(dropped)
            told += await bob.ask("tell", count=10)
            await until(lambda: have([ann], told))
        finally:
            ice.thaw()
        await until(lambda: have([ice], told))


async def test_a_pulled_cable_is_noticed_and_a_plugged_one_too(tmp_path: Path) -> None:
    async with field_of(tmp_path, "ann", "bob", "cat", settings=QUICK_PULSE) as (_, (ann, bob, cat)):
        assert cat.card is not None
        cat.card.plug(plugged=False)
        told = await ann.ask("tell", count=5) + await cat.ask("tell", count=5)

        async def alone() -> bool:
            return not await cat.ask("peers") and not await knows(ann, cat)

        await until(alone)
        told += await bob.ask("tell", count=5)
        cat.card.plug(plugged=True)
        await until(lambda: have([ann, bob, cat], told))


async def test_a_node_that_has_moved_is_found_again(tmp_path: Path) -> None:
    async with field_of(tmp_path, "ann", "bob", "cat") as (field, (ann, bob, cat)):
        before = (await cat.ask("peers"))[bob.peer]
        await bob.end(gently=True)
        assert bob.card is not None
        bob.card.move(77)
        bob = await field.start("bob")
        assert "10.77.0.77" in bob.address
        await until(lambda: knows(ann, bob))
        await cat.ask("reach", peer=bob.peer)  # by its name; where it is now, ann knows
        assert (await cat.ask("peers"))[bob.peer] != before
        told = await cat.ask("tell", count=3) + await bob.ask("tell", count=3)
        await until(lambda: have([ann, bob, cat], told))


async def test_a_crowd_that_comes_back_at_once_does_not_storm_who_lets_it_in(tmp_path: Path) -> None:
    names = ["hub", *(f"n{number}" for number in range(6))]
    async with field_of(tmp_path, *names) as (field, (hub, *crowd)):
        assert hub.card is not None
        told = await hub.ask("tell", count=3)
        await until(lambda: have(crowd, told))
        await hub.end()
        calls, start = hub.card.calls, trio.current_time()
        await trio.sleep(6)  # all try to come back, to a host that refuses them
        tries, lasted = hub.card.calls - calls, trio.current_time() - start
        assert len(crowd) <= tries <= len(crowd) * (2 + lasted), "at first after a second, then more and more seldom"
        for node in crowd:
            await node.end()
        hub = await field.start("hub")
        calls = hub.card.calls if hub.card else 0
        crowd = await field.start_all(names[1:])
        await until(lambda: hear([hub, *crowd], len(crowd)))
        assert hub.card is not None
        assert hub.card.calls - calls <= 3 * len(crowd), "one call each, another when two met on the way"
        told += await crowd[0].ask("tell", count=3)
        await until(lambda: have([hub, *crowd], told))
