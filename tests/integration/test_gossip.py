"""Gossip between real hosts on loopback."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio

from node.network import MessageTooLarge, Network
from node.network.gossip.gossip import MAX_MESSAGE_BYTES, Message
from protocols.ids import PeerId
from tests.support.network import listening, meet, member

TOPIC = "/test/offers/books"


def anything(_peer: PeerId, _data: bytes) -> bool:
    return True


async def collect(channel: trio.MemoryReceiveChannel[Message], count: int, timeout_s: float = 10) -> list[bytes]:
    got: list[bytes] = []
    with trio.move_on_after(timeout_s):
        while len(got) < count:
            got.append((await channel.receive()).data)
    return got


async def test_a_message_arrives_with_its_author_and_not_at_its_author(
    alice: Network, bob: Network, carol: Network
) -> None:
    channels = {node.peer_id: await node.subscribe(TOPIC, anything) for node in (alice, bob, carol)}
    await meet(bob, alice, carol)  # alice - bob - carol: bob hands on
    await listening(alice, TOPIC)
    await listening(carol, TOPIC)
    assert await alice.publish(TOPIC, b"a novel") == 1
    with trio.fail_after(5):
        for node in (bob, carol):
            message = await channels[node.peer_id].receive()
            assert message == Message(TOPIC, alice.peer_id, b"a novel")
    with pytest.raises(trio.WouldBlock):
        channels[alice.peer_id].receive_nowait()


async def test_a_message_of_before_the_subscription_is_known_arrives(alice: Network, bob: Network) -> None:
    await alice.subscribe(TOPIC, anything)
    channel = await bob.subscribe(TOPIC, anything)
    await meet(alice, bob)
    await alice.publish(TOPIC, b"early")  # at once: the mesh does not stand yet
    assert await collect(channel, 1) == [b"early"]


async def test_what_a_check_refuses_is_neither_delivered_nor_handed_on(
    alice: Network, bob: Network, carol: Network
) -> None:
    async def careful(_peer: PeerId, data: bytes) -> bool:
        await trio.lowlevel.checkpoint()
        if data == b"boom":
            raise ZeroDivisionError
        return data == b"good"

    await alice.subscribe(TOPIC, anything)
    at_bob = await bob.subscribe(TOPIC, careful)
    at_carol = await carol.subscribe(TOPIC, anything)
    await meet(bob, alice, carol)
    await listening(alice, TOPIC)
    await listening(bob, TOPIC, 2)
    for data in (b"bad", b"boom", b"good"):
        await alice.publish(TOPIC, data)
    assert await collect(at_bob, 1) == [b"good"]
    assert await collect(at_carol, 1) == [b"good"]
    await trio.sleep(2.5)  # two heartbeats, in which "I have" could bring it by another way
    assert at_bob.statistics().current_buffer_used == at_carol.statistics().current_buffer_used == 0


async def test_too_large_is_said_and_not_dropped(alice: Network, bob: Network) -> None:
    await alice.subscribe(TOPIC, anything)
    channel = await bob.subscribe(TOPIC, anything)
    await meet(alice, bob)
    await listening(alice, TOPIC)
    with pytest.raises(MessageTooLarge, match="65537"):
        await alice.publish(TOPIC, bytes(MAX_MESSAGE_BYTES + 1))
    await alice.publish(TOPIC, bytes(MAX_MESSAGE_BYTES))
    assert [len(data) for data in await collect(channel, 1)] == [MAX_MESSAGE_BYTES]


async def test_a_burst_of_five_hundred_arrives_whole() -> None:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(member(f"node{i}")) for i in range(4)]
        channels = [await node.subscribe(TOPIC, anything) for node in nodes]
        await meet(*nodes)
        await listening(nodes[0], TOPIC, 3)
        await listening(nodes[3], TOPIC)
        sent = [b"%d" % number for number in range(500)]
        for data in sent:
            await nodes[3].publish(TOPIC, data)
        for channel in channels[:3]:
            assert sorted(await collect(channel, 500, 30)) == sorted(sent)
        assert [node.gossip.dropped for node in nodes] == [0, 0, 0, 0]


async def test_a_slow_subscriber_loses_the_newest_and_it_is_counted(alice: Network, bob: Network) -> None:
    await alice.subscribe(TOPIC, anything)
    channel = await bob.subscribe(TOPIC, anything, buffer=3)
    await meet(alice, bob)
    await listening(alice, TOPIC)
    for number in range(5):
        await alice.publish(TOPIC, b"%d" % number)
    with trio.fail_after(5):
        while bob.gossip.dropped < 2:
            await trio.sleep(0.01)
    assert len(await collect(channel, 5, 0.2)) == 3


async def test_after_unsubscribing_the_channel_ends(alice: Network, bob: Network) -> None:
    channel = await bob.subscribe(TOPIC, anything)
    with pytest.raises(ValueError, match="subscribed already"):
        await bob.subscribe(TOPIC, anything)
    await bob.unsubscribe(TOPIC)
    with pytest.raises(trio.EndOfChannel):
        await channel.receive()
    await bob.subscribe(TOPIC, anything)


async def test_a_restarted_node_is_heard_at_once(alice: Network) -> None:
    """Its message numbers must not repeat those of before, or its peers would take new messages for seen ones."""
    channel = await alice.subscribe(TOPIC, anything)
    for life in (b"first", b"second"):
        async with member("mayfly") as mayfly:
            await mayfly.connect(alice.addresses[0])
            await listening(mayfly, TOPIC)
            for number in range(20):
                await mayfly.publish(TOPIC, life + b"%d" % number)
            assert len(await collect(channel, 20)) == 20


async def test_a_neighbour_that_floods_is_slowed_down_and_others_are_heard(
    alice: Network, bob: Network, carol: Network
) -> None:
    channel = await alice.subscribe(TOPIC, anything)
    await carol.subscribe(TOPIC, anything)
    await meet(alice, bob, carol)
    await listening(carol, TOPIC)
    stream = await bob._links.stream(alice.peer_id, "/meshsub/1.2.0")
    await stream.write(bytes(200_000))  # as many empty RPCs
    await carol.publish(TOPIC, b"heard")
    assert await collect(channel, 1, 5) == [b"heard"]
    started = trio.current_time()
    for _ in range(20):
        assert await carol.ping(alice.peer_id) < 1
    assert trio.current_time() - started < 5


async def test_a_flood_of_messages_is_cut_to_the_allowance(
    alice: Network, bob: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.network.gossip.gossip.BURST", 50.0)
    async with member("target") as target:
        channel = await target.subscribe(TOPIC, anything)
        await bob.subscribe(TOPIC, anything)
        await target.connect(bob.addresses[0])
        await listening(bob, TOPIC)
        for number in range(400):
            await bob.publish(TOPIC, b"%d" % number)
        got = await collect(channel, 400, 2)
        assert 50 <= len(got) < 400
        assert target.gossip.refused >= 1
