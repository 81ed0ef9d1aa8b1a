"""Whom a node meets: those who listen to what it listens to, also when it knows enough others."""

from __future__ import annotations

from contextlib import AsyncExitStack

import trio

from node.network import Network
from node.network.dht.rendezvous import place
from protocols.ids import PeerId
from tests.support.network import meet, member

TOPIC = "/test/offers/reviews"
CROWD = 12
TARGET = 3


def _all(_peer: PeerId, _data: bytes) -> bool:
    return True


async def _crowd(stack: AsyncExitStack, hub: Network) -> list[Network]:
    """Nodes around a hub that listen to nothing."""
    members = [await stack.enter_async_context(member(f"one of many {n}")) for n in range(CROWD)]
    await meet(hub, *members)
    return members


async def test_a_newcomer_finds_the_one_who_listens_to_his_topic_among_many_who_do_not() -> None:
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(member("hub"))
        seller = await stack.enter_async_context(member("seller"))
        await meet(hub, seller)
        await _crowd(stack, hub)
        await seller.subscribe(TOPIC, _all)
        newcomer = await stack.enter_async_context(member("newcomer", bootstrap=hub.addresses[:1], target_peers=TARGET))
        with trio.fail_after(30):
            while len(newcomer.peers()) < TARGET:
                await trio.sleep(0.05)
            await newcomer.subscribe(TOPIC, _all)
            while not newcomer.gossip.listeners(TOPIC):
                await trio.sleep(0.05)
        assert newcomer.gossip.listens(seller.peer_id, TOPIC)


async def test_listeners_whom_nobody_around_knows_are_found_by_their_records() -> None:
    """The newcomer's one contact is no neighbour of the listener's one contact's neighbours: three hops."""
    async with AsyncExitStack() as stack:
        near, middle, far = [await stack.enter_async_context(member(name)) for name in ("near", "middle", "far")]
        await meet(near, middle)
        await meet(middle, far)
        listener = await stack.enter_async_context(member("listener", bootstrap=far.addresses[:1], target_peers=1))
        await listener.subscribe(TOPIC, _all)
        newcomer = await stack.enter_async_context(member("newcomer", bootstrap=near.addresses[:1], target_peers=1))
        with trio.fail_after(60):
            while listener.peer_id not in middle.dht.records.providers(place(TOPIC), trio.current_time()):
                await trio.sleep(0.1)
            await newcomer.subscribe(TOPIC, _all)
            while not newcomer.gossip.listens(listener.peer_id, TOPIC):
                await trio.sleep(0.1)


async def test_who_is_full_of_connections_dials_no_more_for_company() -> None:
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(member("hub"))
        for member_ in await _crowd(stack, hub):
            await member_.subscribe(TOPIC, _all)
        newcomer = await stack.enter_async_context(
            member("newcomer", bootstrap=hub.addresses[:1], target_peers=1, max_connections=4, dht=False)
        )
        await newcomer.subscribe(TOPIC, _all)
        with trio.fail_after(30):
            while not newcomer.gossip.listeners(TOPIC):
                await trio.sleep(0.05)
        await trio.sleep(5)  # two more looks around
        assert 1 < sum(not peer.inbound for peer in newcomer.peers()) <= 3
