"""Who can be dialled, and how a node finds out; real hosts on loopback."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import trio

from node.network import Network, PeerRefused
from node.network.outside.reachability import DIAL_BACK, DialBack, DialledBack
from protocols.codec import decode, encode
from protocols.ids import PeerId
from tests.support.network import meet, member

KEY = bytes(range(32))


async def until(condition: Callable[[], object], timeout_s: float = 20) -> None:
    with trio.fail_after(timeout_s):
        while not condition():
            await trio.sleep(0.02)


@pytest.mark.parametrize("key", [b"", KEY], ids=["open", "private"])
async def test_a_node_that_peers_have_dialled_back_is_public(key: bytes) -> None:
    async with member("alice", private_key=key) as alice, member("bob", private_key=key) as bob:
        assert alice.standing.state == "unknown"
        await meet(alice, bob)
        await until(lambda: alice.standing.state == bob.standing.state == "public")
        assert alice.standing.dialled_back == (bob.peer_id,)
        assert alice.standing.observed == ("127.0.0.1",)
        assert alice.standing.relays == ()
        assert [peer.peer for peer in alice.peers()] == [bob.peer_id]  # who dialled back is no second peer
        assert len(alice.host.get_network().get_connections()) == 1


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="this machine has no IPv6")
async def test_an_ipv6_host_finds_out_too() -> None:
    async with member("alice", listen=("/ip6/::1/tcp/0",)) as alice, member("bob", listen=("/ip6/::1/tcp/0",)) as bob:
        await meet(alice, bob)
        await until(lambda: alice.standing.state == "public")
        assert alice.standing.observed == ("::1",)


async def test_a_node_whose_address_nobody_can_dial_is_private() -> None:
    # announces a port at which nobody listens: what a NAT without a mapping looks like from outside
    async with (
        member("alice") as alice,
        member("carol") as carol,
        member("ned", announce=("/ip4/127.0.0.1/tcp/1100",)) as ned,
    ):
        await meet(alice, ned)
        await ned.connect(carol.addresses[0])
        await until(lambda: ned.standing.state == "private")
        assert ned.standing.dialled_back == ()
        await until(lambda: len(ned.standing.relays) == 2)
        assert {way.split("/p2p/")[1].split("/")[0] for way in ned.addresses[1:]} == {alice.peer_id, carol.peer_id}


async def test_a_peer_that_says_it_reached_us_and_did_not_is_not_believed() -> None:
    async with member("alice") as alice, member("mallory") as mallory:

        async def lie(_peer: PeerId, body: bytes) -> bytes:
            ports = decode(body, DialBack, max_bytes=1_024).ports
            return encode(DialledBack(observed="127.0.0.1", reached=ports))

        mallory.serve(DIAL_BACK, lie, max_request_bytes=1_024)
        await meet(alice, mallory)
        await until(lambda: alice.standing.state != "unknown")
        assert alice.standing.state == "private"
        assert alice.standing.dialled_back == ()


async def test_the_setting_decides_where_it_is_set() -> None:
    async with member("alice", reachability="private") as alice, member("rita") as rita:
        await meet(alice, rita)
        await until(lambda: alice.standing.relays)
        assert alice.standing.state == "private"
        assert alice.addresses[-1] == f"{rita.addresses[0]}/p2p-circuit/p2p/{alice.peer_id}"


async def ask(asker: Network, peer: PeerId, ports: list[int]) -> DialledBack:
    reply = await asker.request(peer, DIAL_BACK, encode(DialBack(ports=ports)), timeout_s=20, max_reply_bytes=1_024)
    return decode(reply, DialledBack, max_bytes=1_024)


async def insist(asker: Network, peer: PeerId, port: int) -> None:
    for _ in range(10):
        await ask(asker, peer, [port])


async def test_nobody_is_made_to_knock_at_doors_of_others() -> None:
    knocks: list[Any] = []

    async def listen(stream: trio.SocketStream) -> None:
        knocks.append(stream)
        await stream.aclose()

    async with member("alice") as alice, member("mallory", reachability="public") as mallory, trio.open_nursery() as n:
        (listener,) = await n.start(
            lambda task_status: trio.serve_tcp(listen, 0, host="127.0.0.1", task_status=task_status)
        )
        port = listener.socket.getsockname()[1]
        await mallory.connect(alice.addresses[0])
        own = int(mallory.addresses[0].split("/")[4])
        said = await ask(mallory, alice.peer_id, [22, 25, port, own])
        assert said == DialledBack(observed="127.0.0.1", reached=[own])  # the low ports were not tried, one was not his
        assert len(knocks) == 1
        with pytest.raises(PeerRefused, match="often enough"):
            await insist(mallory, alice.peer_id, port)
        assert len(knocks) <= 6
        n.cancel_scope.cancel()


async def test_who_came_through_a_relay_is_not_dialled_back() -> None:
    from tests.integration.test_network_relay import hidden

    async with member("rita") as rita, hidden("ned", rita) as ned, hidden("nora", rita) as nora:
        await nora.ping(ned.peer_id)
        with pytest.raises(PeerRefused, match="not connected directly"):
            await ask(nora, ned.peer_id, [4_780])
