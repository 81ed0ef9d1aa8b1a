"""Hostile neighbours in the gossip mesh (see test_network_hostile): floods, lies, control messages, replays.

Who is to blame for a message is its forwarder, and only for what every honest node refuses: the last stories are of
those who did nothing wrong.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.mallory import GOSSIP, Mallory, mallory, tell
from tests.support.siege import TOPIC, Attack, Scene, repelled, siege

# isort: split
from libp2p.pubsub.pb import rpc_pb2

MANY = 10_000


async def invalid(foe: Mallory, _scene: Scene) -> None:
    """Signs what every honest node refuses."""
    stream = await foe.stream(GOSSIP)
    while await tell(stream, rpc_pb2.RPC(publish=[foe.message(TOPIC, b"bad")])):
        await trio.sleep(0.01)


async def forged(foe: Mallory, _scene: Scene) -> None:
    """Writes in bob's name."""
    stream = await foe.stream(GOSSIP)
    for number in count():
        message = foe.message(TOPIC, b"good lie", signed=False)
        message.from_id = _scene.bob.host.get_id().to_bytes()
        message.seqno = number.to_bytes(8, "big")
        if not await tell(stream, rpc_pb2.RPC(publish=[message])):
            return


async def flood(foe: Mallory, _scene: Scene) -> None:
    """Tells valid things by the thousand."""
    stream = await foe.stream(GOSSIP)
    for number in range(MANY):
        messages = [foe.message(TOPIC, b"good %d %d" % (number, part)) for part in range(10)]
        if not await tell(stream, rpc_pb2.RPC(publish=messages)):
            return


async def replay(foe: Mallory, scene: Scene) -> None:
    """Hands on what another told, over and over."""
    message = foe.message(TOPIC, b"good once")
    async with mallory("accomplice") as other:
        await other.meet(scene.alice)
        await tell(await other.stream(GOSSIP), rpc_pb2.RPC(publish=[message]))
    stream = await foe.stream(GOSSIP)
    while await tell(stream, rpc_pb2.RPC(publish=[message] * 50)):
        await trio.sleep(0.01)


async def garbage(foe: Mallory, _scene: Scene) -> None:
    """Says what is no RPC."""
    for _ in range(MANY):
        stream = await foe.stream(GOSSIP)
        await stream.write(b"\x08" + b"\xff" * 8)


async def huge(foe: Mallory, _scene: Scene) -> None:
    """Announces an RPC of 1 GiB."""
    for _ in range(MANY):
        stream = await foe.stream(GOSSIP)
        await stream.write(b"\x80\x80\x80\x80\x04" + bytes(1_000))


async def topics(foe: Mallory, _scene: Scene) -> None:
    """Subscribes to ten thousand topics."""
    stream = await foe.stream(GOSSIP)
    for start in range(0, MANY, 1_000):
        told = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=f"topic {start + n}") for n in range(1_000)]
        await tell(stream, rpc_pb2.RPC(subscriptions=told))


async def long_topics(foe: Mallory, _scene: Scene) -> None:
    """Subscribes to topics of 100 kB."""
    stream = await foe.stream(GOSSIP)
    for number in range(MANY):
        told = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=f"{number} {part}" + "x" * 100_000) for part in range(5)]
        if not await tell(stream, rpc_pb2.RPC(subscriptions=told)):
            return


async def churn(foe: Mallory, _scene: Scene) -> None:
    """Joins and leaves a topic without end."""
    stream = await foe.stream(GOSSIP)
    told = [rpc_pb2.RPC.SubOpts(subscribe=n % 2 == 0, topicid=TOPIC) for n in range(1_000)]
    while await tell(stream, rpc_pb2.RPC(subscriptions=told)):
        await trio.sleep(0)


def control(**told: Any) -> Any:
    return rpc_pb2.RPC(control=rpc_pb2.ControlMessage(**told))


async def i_have(foe: Mallory, _scene: Scene) -> None:
    """Claims to have a hundred thousand messages."""
    stream = await foe.stream(GOSSIP)
    for start in range(0, 10 * MANY, 1_000):
        ids = [b"claimed %8d" % (start + n) for n in range(1_000)]
        await tell(stream, control(ihave=[rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=ids)]))


async def i_want(foe: Mallory, scene: Scene) -> None:
    """Wants the same message of 60 kB thousands of times in one breath."""
    stream = await foe.stream(GOSSIP)
    message = foe.message(TOPIC, b"good " + bytes(60_000))
    await tell(stream, rpc_pb2.RPC(publish=[message]))
    name = scene.alice.gossip._router._msg_id_constructor(message)
    while await tell(stream, control(iwant=[rpc_pb2.ControlIWant(messageIDs=[name] * 5_000)])):
        await trio.sleep(0.01)


async def grafts(foe: Mallory, _scene: Scene) -> None:
    """Grafts and prunes topics that nobody has, and one that we have."""
    stream = await foe.stream(GOSSIP)
    for start in range(0, 4 * MANY, 500):
        names = [f"nobody's {start + n}" for n in range(499)] + [TOPIC]
        graft = [rpc_pb2.ControlGraft(topicID=name) for name in names]
        prune = [rpc_pb2.ControlPrune(topicID=name, backoff=2**63) for name in names]
        if not await tell(stream, control(graft=graft, prune=prune)):
            return


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (invalid, "gossip that every honest node refuses"),
        (forged, "gossip with a false signature"),
        (flood, "more than its share"),
        (replay, "the same gossip again and again"),
        (garbage, "messages that cannot be read"),
        (huge, "frames over the bound"),
        (topics, "more than its share"),
        (long_topics, "more than its share"),
        (churn, "more than its share"),
        (i_have, "more than its share"),
        (i_want, "more than its share"),
        (grafts, "more than its share"),
    ],
)
async def test_gossip(
    tmp_path: Path,
    attack: Attack,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.network.gossip.gossip.BURST", 300.0)  # two thousand signatures take a while to make
    monkeypatch.setattr("node.network.gossip.gossip.RATE", 100.0)
    assert await repelled(tmp_path, attack) == reason


async def test_who_hands_on_what_is_only_late_is_not_to_blame(tmp_path: Path) -> None:
    async with siege(tmp_path) as scene, mallory("late") as neighbour:
        await neighbour.meet(scene.alice)
        stream = await neighbour.stream(GOSSIP)
        refused = scene.alice.gossip.refused
        for number in range(100):
            await tell(stream, rpc_pb2.RPC(publish=[neighbour.message(TOPIC, b"late %d" % number)]))
        with trio.fail_after(10):
            while scene.alice.gossip.refused < refused + 100:
                await trio.sleep(0.05)
        assert {peer.peer: peer.score for peer in scene.alice.peers()}[neighbour.peer_id] == 0


async def test_who_hands_on_anothers_flood_is_not_to_blame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.network.gossip.gossip.BURST", 300.0)
    monkeypatch.setattr("node.network.gossip.gossip.RATE", 50.0)
    async with siege(tmp_path) as scene, mallory("hander-on") as neighbour, mallory("author") as author:
        await neighbour.meet(scene.alice)
        stream = await neighbour.stream(GOSSIP)
        for number in range(100):
            messages = [author.message(TOPIC, b"good %d %d" % (number, part)) for part in range(10)]
            assert await tell(stream, rpc_pb2.RPC(publish=messages))
        with trio.fail_after(20):
            while scene.alice.gossip.refused < 500:
                await trio.sleep(0.05)
        assert {peer.peer: peer.score for peer in scene.alice.peers()}[neighbour.peer_id] == 0


async def test_topics_and_control_of_a_crowd_are_taken(tmp_path: Path) -> None:
    """Five hundred topics, and what twenty messages a second bring about: nobody honest is near a bound."""
    async with siege(tmp_path) as scene, mallory("crowd") as neighbour:
        await neighbour.meet(scene.alice)
        stream = await neighbour.stream(GOSSIP)
        told = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=f"/schwung/domain-{n}/offers") for n in range(500)]
        await tell(stream, rpc_pb2.RPC(subscriptions=told))
        for second in range(20):
            ids = [b"heard %4d" % (second * 20 + n) for n in range(100)]
            have = [rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=ids)]
            await tell(stream, control(ihave=have, graft=[rpc_pb2.ControlGraft(topicID=TOPIC)]))
        with trio.fail_after(10):
            while scene.alice.gossip.listeners("/schwung/domain-499/offers") < 1:
                await trio.sleep(0.05)
        assert {peer.peer: peer.score for peer in scene.alice.peers()}[neighbour.peer_id] == 0


async def test_who_prunes_and_goes_leaves_nothing_behind(tmp_path: Path) -> None:
    """A back-off is remembered of each name that comes by: ever new names would fill the memory."""
    async with siege(tmp_path) as scene:
        held = scene.alice.gossip._router.router.back_off
        for number in range(5):
            async with mallory(f"name {number}") as neighbour:
                await neighbour.meet(scene.alice)
                stream = await neighbour.stream(GOSSIP)
                assert await tell(stream, control(prune=[rpc_pb2.ControlPrune(topicID=TOPIC, backoff=2**40)]))
                with trio.fail_after(10):
                    while neighbour.host.get_id() not in held.get(TOPIC, {}):
                        await trio.sleep(0.05)
        with trio.fail_after(20):
            while held[TOPIC].keys() - {scene.bob.host.get_id()}:
                await trio.sleep(0.05)
