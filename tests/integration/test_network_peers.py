"""Who gets in, who is kept, and what happens when a connection ends; real hosts on loopback."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress

import pytest
import trio

import node.network  # noqa: F401 - first: it imports libp2p without the deprecation warning of a part we do not use

# isort: split
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from multiaddr import Multiaddr

from node.network import (
    BadAddress,
    Foreigner,
    ListenFailed,
    Network,
    PeerUnreachable,
    open_network,
)
from node.network.host import MAX_STREAMS_PER_PEER
from protocols.ids import PeerId
from tests.support.network import meet, member, options, seed


async def until(condition: object, timeout_s: float = 5) -> None:
    with trio.fail_after(timeout_s):
        while not condition():  # type: ignore[operator]
            await trio.sleep(0.01)


async def test_the_same_seed_is_the_same_peer_and_real_ports_are_reported(alice: Network) -> None:
    async with member("alice") as again:
        assert again.peer_id == alice.peer_id
        assert again.addresses != alice.addresses
        for address in again.addresses:
            assert "/tcp/0/" not in address
            assert address.endswith(f"/p2p/{again.peer_id}")


async def test_a_plaintext_dialler_is_refused(alice: Network) -> None:
    keys = create_new_key_pair(seed("mallory"))
    mallory = new_host(key_pair=keys, sec_opt={PLAINTEXT_PROTOCOL_ID: InsecureTransport(keys)})
    async with mallory.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        with pytest.raises(BaseLibp2pError), trio.fail_after(10):
            await mallory.connect(info_from_p2p_addr(Multiaddr(alice.addresses[0])))
        assert not mallory.get_connected_peers()
        await mallory.close()
    assert alice.peers() == []
    assert not alice.host.get_connected_peers()


async def test_a_port_in_use_is_one_clear_error(alice: Network) -> None:
    port = alice.addresses[0].split("/")[4]
    with pytest.raises(ListenFailed, match=f"tcp/{port}: another program has this port"):
        async with member("bob", listen=(f"/ip4/127.0.0.1/tcp/{port}",)):
            raise AssertionError("two nodes on one port")


async def test_a_port_that_was_just_left_is_free() -> None:
    async with member("alice") as alice, member("bob") as bob:
        await meet(alice, bob)
        port = alice.addresses[0].split("/")[4]
    async with member("alice", listen=(f"/ip4/127.0.0.1/tcp/{port}",)) as again:
        assert again.addresses[0].split("/")[4] == port


@pytest.mark.parametrize("address", ["", "/ip4/127.0.0.1", "localhost:4001", "/ip4/127.0.0.1/udp/1/quic-v1", "/tcp/1"])
async def test_an_address_that_cannot_be_listened_on_is_refused(address: str) -> None:
    with pytest.raises(BadAddress):
        async with member("bob", listen=(address,)):
            raise AssertionError("listening")


async def test_both_sides_know_each_other_after_one_hello(alice: Network) -> None:
    events: list[tuple[str, dict[str, object]]] = []
    async with open_network(options(version="7.1"), seed("bob"), on_event=lambda *event: events.append(event)) as bob:
        await alice.connect(bob.addresses[0])
        (known,) = bob.peers()
        assert (known.peer, known.inbound, known.addresses) == (alice.peer_id, True, alice.addresses)
        (known,) = alice.peers()
        assert (known.peer, known.inbound, known.version) == (bob.peer_id, False, "7.1")
        assert 0 < await alice.ping(bob.peer_id) < 1
        await alice.disconnect(bob.peer_id)
        await until(lambda: len(events) == 2)
    assert [name for name, _ in events] == ["peer.connected", "peer.disconnected"]
    assert events[0][1] == {"peer": alice.peer_id, "address": alice.addresses[0], "inbound": True}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"network_id": "elsewhere"}, "you are of 'elsewhere'"), ({"chain_id": 1}, "you are on 1")],
)
async def test_a_foreigner_is_told_why_and_disconnected(
    alice: Network, changes: dict[str, object], reason: str
) -> None:
    async with member("bob", **changes) as bob:
        with pytest.raises(Foreigner, match=reason):
            await bob.connect(alice.addresses[0])
        await until(lambda: not alice.host.get_connected_peers())
        assert alice.peers() == bob.peers() == []


async def test_a_stranger_who_says_no_hello_is_not_served(alice: Network) -> None:
    async def secret(_peer: PeerId, _body: bytes) -> bytes:
        raise AssertionError("served")

    alice.serve("/test/secret/1", secret, max_request_bytes=10)
    async with member("bob") as bob:
        await bob._links.dial(alice.peer_id, alice.addresses)
        with pytest.raises(Exception, match="say /schwung/hello/1 first"):
            await bob._links.exchange(alice.peer_id, "/test/secret/1", b"", 10)


async def test_unreachable_addresses_are_said_clearly(alice: Network) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    with pytest.raises(PeerUnreachable, match=f"/tcp/{closed}"):
        await alice.connect(f"/ip4/127.0.0.1/tcp/{closed}/p2p/12D3KooWMbbPVGsZYh3ChQjue712NHHGNybRRXwnuSpezYjGbCDS")
    with pytest.raises(BadAddress):
        await alice.connect(f"/ip4/127.0.0.1/tcp/{closed}")
    with pytest.raises(PeerUnreachable, match="our own"):
        await alice.connect(alice.addresses[0])


async def test_the_right_address_of_the_wrong_peer_is_unreachable(alice: Network, bob: Network, carol: Network) -> None:
    address = bob.addresses[0].replace(bob.peer_id, carol.peer_id)
    with pytest.raises(PeerUnreachable):
        await alice.connect(address)
    assert alice.peers() == []
    await alice.connect(bob.addresses[0])
    await alice.connect(carol.addresses[0])  # the failed dial does not bar her


async def test_a_bootstrap_peer_that_starts_later_and_restarts_is_found() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listen = (f"/ip4/127.0.0.1/tcp/{port}",)
    async with member("bootstrap") as once:
        name = once.peer_id
    async with member("alice", bootstrap=(f"{listen[0]}/p2p/{name}",)) as alice:
        assert alice.peers() == []
        for _life in range(2):
            async with member("bootstrap", listen=listen):
                await until(lambda: [peer.peer for peer in alice.peers()] == [name], 10)
            await until(lambda: alice.peers() == [])


class Memory:
    """Remembers in a list."""

    def __init__(self, known: list[tuple[PeerId, tuple[str, ...]]]) -> None:
        self.known = known
        self.failures: list[PeerId] = []

    async def met(self, peer: PeerId, addresses: Sequence[str], now: int) -> None:
        self.known.append((peer, tuple(addresses)))

    async def failed(self, peer: PeerId) -> None:
        self.failures.append(peer)

    async def good(self, limit: int) -> list[tuple[PeerId, tuple[str, ...]]]:
        return self.known[:limit]


async def test_remembered_peers_are_dialled_and_new_ones_remembered(alice: Network) -> None:
    dead = PeerId("12D3KooWMbbPVGsZYh3ChQjue712NHHGNybRRXwnuSpezYjGbCDS")
    memory = Memory([(dead, (f"/ip4/127.0.0.1/tcp/1/p2p/{dead}",)), (alice.peer_id, alice.addresses)])
    async with open_network(options(target_peers=8), seed("bob"), memory=memory) as bob:
        await until(lambda: [peer.peer for peer in bob.peers()] == [alice.peer_id])
        assert memory.failures == [dead]
        assert memory.known[-1] == (alice.peer_id, alice.addresses)


async def test_a_newcomer_meets_the_others_through_its_bootstrap_peer(alice: Network, bob: Network) -> None:
    await meet(alice, bob)
    async with member("carol", bootstrap=alice.addresses, target_peers=8) as carol:
        both = {alice.peer_id, bob.peer_id}
        await until(lambda: {peer.peer for peer in carol.peers()} == both, 10)
        await carol.disconnect(bob.peer_id)
        await until(lambda: bob.peer_id not in {peer.peer for peer in carol.peers()})
        await trio.sleep(3)  # a young node looks around every two seconds
        assert bob.peer_id not in {peer.peer for peer in carol.peers()}


async def test_a_peer_that_opens_a_thousand_streams_is_bounded_and_the_rest_served(
    alice: Network, bob: Network, carol: Network
) -> None:
    async def hold(_peer: PeerId, _body: bytes) -> bytes:
        return b"served"

    alice.serve("/test/hold/1", hold, max_request_bytes=10)
    await meet(alice, bob, carol)
    swarm = bob.host.get_network()
    opened = []
    with trio.move_on_after(20), suppress(BaseLibp2pError):  # the muxer itself stops a connection at 256
        for _ in range(1_000):
            opened.append(await swarm.new_stream(alice.host.get_id()))
    assert len(opened) > MAX_STREAMS_PER_PEER
    border = alice.host.get_network().common_stream_handler
    assert border._open[bob.peer_id] <= MAX_STREAMS_PER_PEER
    reply = await carol.request(alice.peer_id, "/test/hold/1", b"", timeout_s=5, max_reply_bytes=10)
    assert reply == b"served"
    assert [ban.peer for ban in alice.banned()] == [bob.peer_id]


async def test_a_peer_that_lost_sight_of_us_is_greeted_anew(alice: Network, bob: Network) -> None:
    async def echo(_peer: PeerId, body: bytes) -> bytes:
        return body

    alice.serve("/test/echo/1", echo, max_request_bytes=100)
    await meet(alice, bob)
    alice._book.remove(bob.peer_id)
    reply = await bob.request(alice.peer_id, "/test/echo/1", b"me", timeout_s=5, max_reply_bytes=10)
    assert reply == b"me"
    assert [peer.peer for peer in alice.peers()] == [bob.peer_id]


async def test_a_crash_inside_ends_the_block_with_its_own_traceback() -> None:
    async def crash() -> None:
        raise LookupError("inside")

    async def live() -> None:
        async with member("alice") as alice:
            alice.host.get_network().manager.run_task(crash)
            await trio.sleep_forever()

    with pytest.raises(LookupError, match="inside") as caught:
        await live()
    assert "crash" in [entry.name for entry in caught.traceback]


async def test_closing_while_peers_still_send_is_quiet_and_leaks_no_sockets() -> None:
    def sockets() -> int:
        found = 0
        for name in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):  # the listing's own
                found += os.readlink(f"/proc/self/fd/{name}").startswith("socket")
        return found

    async def babble(network: Network) -> None:
        while True:
            await network.publish("/test/noise", bytes(2_000))
            await trio.sleep(0.002)

    async with member("alice") as alice:
        await alice.subscribe("/test/noise", lambda _peer, _data: True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(babble, alice)
            before = sockets()
            for _life in range(4):
                async with member("mayfly") as mayfly:
                    await mayfly.subscribe("/test/noise", lambda _peer, _data: True)
                    await meet(alice, mayfly)
                    await trio.sleep(0.2)
            await until(lambda: not alice.peers())
            await until(lambda: sockets() <= before)
            nursery.cancel_scope.cancel()
