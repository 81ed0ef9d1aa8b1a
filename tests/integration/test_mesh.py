"""How gossip is handed on: few copies, one check each, and nobody waits for one who does not take his."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from node.network import Network
from node.network.addresses import to_id
from node.network.gossip import gossip, mesh
from protocols.ids import PeerId
from tests.support.network import listening, meet, member

TOPIC = "/test/offers/books"
SIZE = 6_000


def anything(_peer: PeerId, _data: bytes) -> bool:
    return True


async def everybody(stack: AsyncExitStack, count: int) -> tuple[list[Network], list[Any]]:
    """Hosts that all know one another, in the mesh of all others."""
    nodes = [await stack.enter_async_context(member(f"mesh{i}")) for i in range(count)]
    channels = [await node.subscribe(TOPIC, anything) for node in nodes]
    for at in range(count - 1):
        await meet(nodes[at], *nodes[at + 1 :])
    for node in nodes:
        await listening(node, TOPIC, count - 1)
    with trio.fail_after(20):
        while any(len(node.gossip._router.router.mesh[TOPIC]) < 4 for node in nodes):
            await trio.sleep(0.1)
    return nodes, channels


async def received(channel: Any, count: int) -> list[bytes]:
    with trio.fail_after(30):
        return [(await channel.receive()).data for _ in range(count)]


async def test_who_has_a_message_is_not_sent_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncExitStack() as stack:
        nodes, channels = await everybody(stack, 6)

        async def copies(told: int) -> float:
            before = sum(node.gossip._router.router.sent for node in nodes)
            for number in range(told):
                await nodes[number % 6].publish(TOPIC, number.to_bytes(4, "big") + bytes(SIZE))
                await trio.sleep(0.05)
            for at, channel in enumerate(channels):
                await received(channel, sum(1 for number in range(told) if number % 6 != at))
            await trio.sleep(mesh.HOLD_DIRECT_S * 1.5 + 0.5)
            return (sum(node.gossip._router.router.sent for node in nodes) - before) / told / len(nodes)

        monkeypatch.setattr(mesh, "HOLD_DIRECT_S", 2.0)  # on a busy machine news of who has it takes its time
        few = await copies(24)
        monkeypatch.setattr(mesh, "HOLD_DIRECT_S", 0.0)
        monkeypatch.setattr(mesh, "HOLD_S", 0.0)
        assert few < 0.7 * await copies(24), "copies that a node sends of a message"


async def test_a_signature_is_checked_once_however_often_a_message_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: Counter[bytes] = Counter()
    check = gossip.signature_validator

    def counting(message: Any) -> bool:
        checked[message.data[:4]] += 1
        return bool(check(message))

    monkeypatch.setattr(gossip, "signature_validator", counting)
    monkeypatch.setattr(mesh, "HOLD_DIRECT_S", 0.0)  # as many copies as can be
    monkeypatch.setattr(mesh, "HOLD_S", 0.0)
    async with AsyncExitStack() as stack:
        nodes, channels = await everybody(stack, 5)
        for number in range(10):
            await nodes[0].publish(TOPIC, number.to_bytes(4, "big") + bytes(SIZE))
        for channel in channels[1:]:
            await received(channel, 10)
        await trio.sleep(0.5)
        again = sum(node.gossip._router.router.sent for node in nodes) - 10 * len(nodes[1:])
        assert again > 0, "copies came twice"
        assert set(checked.values()) == {len(nodes) - 1}


async def test_who_takes_nothing_is_left_behind_and_the_others_hear_all(
    alice: Network, bob: Network, carol: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gossip, "QUEUE_FULL", 20)
    monkeypatch.setattr(gossip, "ROOM_S", 0.5)
    for node in (alice, bob):
        await node.subscribe(TOPIC, anything)
    channel = await carol.subscribe(TOPIC, anything)
    write = alice.gossip._router.handle_sending_messages

    async def stuck(peer: Any, stream: Any, queue: Any) -> None:
        await (trio.sleep_forever() if peer == to_id(bob.peer_id) else write(peer, stream, queue))

    monkeypatch.setattr(alice.gossip._router, "handle_sending_messages", stuck)
    await meet(alice, bob, carol)
    await listening(alice, TOPIC, 2)
    for number in range(100):
        with trio.fail_after(10):
            await alice.publish(TOPIC, b"%d" % number)
    assert sorted(await received(channel, 100)) == sorted(b"%d" % number for number in range(100))
    with trio.fail_after(10):
        while any(peer.peer == bob.peer_id for peer in alice.peers()):
            await trio.sleep(0.05)


async def test_a_neighbour_that_is_met_twice_at_once_is_written_to_by_one_task(
    alice: Network, bob: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    await alice.subscribe(TOPIC, anything)
    await bob.subscribe(TOPIC, anything)
    await meet(alice, bob)
    await listening(alice, TOPIC)
    router, begun = alice.gossip._router, []
    write = router.handle_sending_messages

    async def counted(peer: Any, stream: Any, queue: Any) -> None:
        begun.append(peer)
        await write(peer, stream, queue)

    monkeypatch.setattr(router, "handle_sending_messages", counted)
    router._handle_dead_peer(to_id(bob.peer_id))
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(router._handle_new_peer, to_id(bob.peer_id))
    await trio.sleep(0.5)
    assert begun == [to_id(bob.peer_id)]


async def test_what_is_asked_for_again_fits_what_a_neighbour_takes(alice: Network) -> None:
    """Upstream joins what was asked for up to 1 MiB, twice of what we, and go's default, read as one message."""
    wanted = gossip.rpc_pb2.RPC(publish=[gossip.rpc_pb2.Message(data=bytes(SIZE), seqno=bytes(8)) for _ in range(300)])
    parts = gossip.rpc_queue.RpcQueue().split_rpc(wanted)
    assert sum(len(part.publish) for part in parts) == 300
    assert max(part.ByteSize() for part in parts) <= gossip.MAX_RPC_BYTES
