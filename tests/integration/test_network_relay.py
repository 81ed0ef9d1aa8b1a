"""Peers that nobody can dial, reached through a relay; three hosts in one process."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from node.blocks import open_embedded
from node.network import Network, PeerUnreachable
from node.network.options import RelayLimits
from protocols.ids import PeerId
from tests.support.network import listening, meet, member

ECHO = "/test/echo/1"
WHOLE = 8 << 20


async def until(condition: Callable[[], object], timeout_s: float = 20) -> None:
    with trio.fail_after(timeout_s):
        while not condition():
            await trio.sleep(0.02)


async def echo(_peer: PeerId, body: bytes) -> bytes:
    return body


async def reply(asker: Network, peer: PeerId, body: bytes, timeout_s: float = 20) -> bytes:
    return await asker.request(peer, ECHO, body, timeout_s=timeout_s, max_reply_bytes=WHOLE)


@asynccontextmanager
async def hidden(name: str, relay: Network, **changes: object) -> AsyncIterator[Network]:
    """A node that listens nowhere and has its place at the relay."""
    async with member(name, listen=(), **changes) as network:
        network.serve(ECHO, echo, max_request_bytes=WHOLE)
        assert network.addresses == ()
        await network.connect(relay.addresses[0])
        await until(lambda: network.addresses)
        await until(lambda: any(peer.addresses for peer in relay.peers() if peer.peer == network.peer_id))
        yield network


async def test_two_nodes_that_nobody_can_dial_talk_through_a_relay() -> None:
    async with (
        member("rita") as rita,
        hidden("ned", rita) as ned,
        hidden("nora", rita) as nora,
    ):
        assert ned.addresses == (f"{rita.addresses[0]}/p2p-circuit/p2p/{ned.peer_id}",)
        body = os.urandom(1 << 20)
        assert await reply(nora, ned.peer_id, body) == body  # by name: the relay introduces them
        assert nora.relays(ned.peer_id) == ned.relays(nora.peer_id) == (rita.peer_id,)
        assert {peer.peer for peer in ned.peers()} == {rita.peer_id, nora.peer_id}
        assert 0 < await nora.ping(ned.peer_id) < 5
        heard = await ned.subscribe("t", lambda _peer, _data: True)
        await listening(nora, "t")
        await nora.publish("t", b"from afar")
        with trio.fail_after(10):
            assert (await heard.receive()).data == b"from afar"
        assert ned.standing.state == "private"
        assert ned.standing.relays == (rita.peer_id,)
        assert rita.standing.serving == {"reservations": 2, "circuits": 1}


async def test_the_ways_of_a_relay_are_dialled_as_addresses_are() -> None:
    async with member("rita") as rita, hidden("ned", rita) as ned, member("nora", listen=()) as nora:
        assert await nora.connect(ned.addresses[0]) == ned.peer_id
        assert nora.relays(ned.peer_id) == (rita.peer_id,)


async def test_a_peer_that_can_be_dialled_is_dialled_and_the_relay_left() -> None:
    async with member("rita") as rita, hidden("ned", rita) as ned, member("alice") as alice:
        heard = await ned.subscribe("t", lambda _peer, _data: True)
        await alice.connect(ned.addresses[0])
        assert alice.relays(ned.peer_id)
        await until(lambda: not alice.relays(ned.peer_id) and not ned.relays(alice.peer_id))
        await until(lambda: rita.standing.serving["circuits"] == 0)
        assert await reply(alice, ned.peer_id, b"direct") == b"direct"
        await trio.sleep(1)
        await listening(alice, "t")
        await alice.publish("t", b"as before")
        with trio.fail_after(10):
            assert (await heard.receive()).data == b"as before"


async def open_until(leave: trio.Event, name: str, task_status: trio.TaskStatus[Network]) -> None:
    async with member(name) as network:
        task_status.started(network)
        await leave.wait()


async def test_a_relay_that_goes_is_replaced_and_the_peers_meet_again() -> None:
    leave = trio.Event()
    async with trio.open_nursery() as nursery, member("rosa") as rosa:
        rita = await nursery.start(open_until, leave, "rita")
        await meet(rosa, rita)
        async with hidden("ned", rita) as ned, hidden("nora", rita) as nora:
            await nora.connect(ned.addresses[0])  # from now on he is wanted
            await ned.connect(rosa.addresses[0])
            await nora.connect(rosa.addresses[0])
            await until(lambda: rosa.peer_id in ned.standing.relays)
            leave.set()
            await until(lambda: ned.standing.relays == (rosa.peer_id,))
            await until(lambda: nora.relays(ned.peer_id) == (rosa.peer_id,), 40)
            assert await reply(nora, ned.peer_id, b"2") == b"2"


@pytest.mark.parametrize(
    "limits", [RelayLimits(circuit_bytes=200_000), RelayLimits(circuit_s=2)], ids=["bytes", "time"]
)
async def test_a_circuit_at_its_limit_ends_and_is_dialled_anew(limits: RelayLimits) -> None:
    async with member("rita", relay=limits) as rita, hidden("ned", rita) as ned, hidden("nora", rita) as nora:
        body = os.urandom(40_000)
        for _ in range(2):
            assert await reply(nora, ned.peer_id, body) == body
            with trio.fail_after(30):
                while nora.relays(ned.peer_id):
                    with suppress(PeerUnreachable):  # cut in the middle
                        await reply(nora, ned.peer_id, body if limits.circuit_bytes == 200_000 else b"")
                    await trio.sleep(0.1)
        assert await reply(nora, ned.peer_id, b"again") == b"again"


async def test_a_payload_larger_than_a_circuit_arrives(tmp_path: Path) -> None:
    """Cut off by the relay again and again, it goes on where it stood."""
    data = os.urandom(3_000_000)
    async with (
        member("rita", relay=RelayLimits(circuit_bytes=1_400_000)) as rita,
        hidden("ned", rita) as ned,
        hidden("nora", rita) as nora,
        open_embedded(tmp_path / "ned", ned) as source,
        open_embedded(tmp_path / "nora", nora) as target,
    ):
        cid = await source.add(data)
        assert await target.fetch(cid, providers=[ned.peer_id], max_bytes=len(data), timeout_s=60) == data
        assert rita._outside.relay is not None
        assert rita._outside.relay.carried_bytes < 2 * len(data)


def living() -> Counter[str]:
    """This process's tasks by name."""
    found: Counter[str] = Counter()
    waiting = [trio.lowlevel.current_root_task()]
    while waiting:
        task = waiting.pop()
        if task is not None:
            found[task.name.rpartition(".")[2]] += 1
            waiting.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return found


async def test_circuits_that_come_and_go_leave_nothing_behind() -> None:
    async with member("rita") as rita, hidden("ned", rita) as ned, hidden("nora", rita) as nora:

        async def come_and_go(times: int) -> None:
            for _ in range(times):
                await reply(nora, ned.peer_id, os.urandom(10_000))
                await nora.disconnect(ned.peer_id)
            await until(lambda: rita.standing.serving["circuits"] == 0)

        await come_and_go(2)
        await trio.sleep(2)
        before, files = living(), len(os.listdir("/proc/self/fd"))
        await come_and_go(12)
        await until(lambda: not (living() - before), 30)
        assert len(os.listdir("/proc/self/fd")) <= files + 2


async def test_a_full_relay_says_so_and_one_that_is_none_is_left_alone() -> None:
    async with (
        member("rita", relay=RelayLimits(reservations=1)) as rita,
        member("rosa", relay=None) as rosa,
        hidden("ned", rita) as ned,
        member("nora", listen=()) as nora,
    ):
        await meet(rosa, ned)
        await nora.connect(rita.addresses[0])
        await trio.sleep(2)
        assert nora.addresses == ()
        assert ned.standing.relays == (rita.peer_id,)
        with pytest.raises(PeerUnreachable, match="no reservation"):
            await ned.connect(f"{rita.addresses[0]}/p2p-circuit/p2p/{nora.peer_id}")
