"""Private networks, and what a host does with those who cannot or do not finish the handshake."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from node.blocks import open_embedded
from node.network import Network, NetworkError, OtherNetworkKey, PeerUnreachable
from node.network.guard.doorway import PLACES
from node.network.links import DIAL_S
from node.network.private import OTHER_KEY, read_key
from protocols.ids import Cid, PeerId
from tests.support import kubo
from tests.support.network import listening, meet, member

KEY = sha256(b"ours").digest()
OTHER = sha256(b"theirs").digest()


async def test_members_of_a_private_network_talk() -> None:
    async with member("alice", private_key=KEY) as alice, member("bob", private_key=KEY) as bob:

        async def echo(_peer: PeerId, body: bytes) -> bytes:
            return body

        assert alice.standing.private_network == bob.standing.private_network != ""
        bob.serve("/test/echo/1", echo, max_request_bytes=4 << 20)
        await meet(alice, bob)
        body = bytes(range(256)) * 8_192
        reply = await alice.request(bob.peer_id, "/test/echo/1", body, timeout_s=20, max_reply_bytes=4 << 20)
        assert reply == body
        heard = await bob.subscribe("t", lambda _peer, _data: True)
        await listening(alice, "t")
        await alice.publish("t", b"in private")
        with trio.fail_after(10):
            assert (await heard.receive()).data == b"in private"


@pytest.mark.parametrize("key", [OTHER, b""], ids=["another key", "no key"])
async def test_who_has_another_key_or_none_is_told_apart_at_once(key: bytes) -> None:
    async with member("alice", private_key=KEY) as alice, member("bob", private_key=key) as bob:
        with trio.fail_after(DIAL_S), pytest.raises(OtherNetworkKey, match=OTHER_KEY):
            await alice.connect(bob.addresses[0])
        with capture_logs() as logs:
            with trio.fail_after(DIAL_S), pytest.raises(PeerUnreachable):
                await bob.connect(alice.addresses[0])
            await trio.sleep(0.2)
        assert [(line["event"], line["reason"]) for line in logs if line["log_level"] == "warning"] == [
            ("inbound connection refused", OTHER_KEY)
        ]
        assert alice.peers() == bob.peers() == []


@pytest.mark.interop
@pytest.mark.skipif(bool(kubo.missing()), reason=kubo.missing() or "present")
async def test_kubo_with_the_same_key_file_is_understood(tmp_path: Path) -> None:
    """Real Kubo in its private mode; another key, and it is refused."""
    (tmp_path / "swarm.key").write_text(f"/key/swarm/psk/1.0.0/\n/base16/\n{KEY.hex()}\n")
    async with (
        kubo.node(tmp_path) as other,
        member("alice", private_key=read_key(str(tmp_path / "swarm.key"))) as alice,
        member("mallory", private_key=OTHER) as mallory,
        open_embedded(tmp_path / "store", alice) as blocks,
    ):
        peer = PeerId(other.peer)
        await alice._links.dial(peer, [other.address])
        assert 0 < await alice._links.ping(peer) < 10
        data = bytes(range(256)) * 10_000
        (tmp_path / "source").write_bytes(data)
        cid = Cid(await other.add(tmp_path / "source"))
        assert await blocks.fetch(cid, providers=[peer], max_bytes=len(data), timeout_s=30) == data
        with pytest.raises(OtherNetworkKey, match=OTHER_KEY):
            await mallory._links.dial(peer, [other.address])


async def test_an_answer_that_is_no_libp2p_is_an_unreachable_peer(alice: Network, bob: Network) -> None:
    async def babble(stream: trio.SocketStream) -> None:
        await stream.send_all(b"\x10\xff\xfe SSH-2.0-OpenSSH\r\n" * 4)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), babble, 0)
        port = listener.socket.getsockname()[1]
        with pytest.raises(PeerUnreachable):
            await alice.connect(f"/ip4/127.0.0.1/tcp/{port}/p2p/{bob.peer_id}")
        nursery.cancel_scope.cancel()


async def test_a_listener_that_never_answers_ends_in_an_error() -> None:
    async with member("alice", private_key=KEY) as alice, trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), _say_nothing, 0)
        port = listener.socket.getsockname()[1]
        with trio.fail_after(3 * DIAL_S), pytest.raises(PeerUnreachable, match="no answer"):
            await alice.connect(f"/ip4/127.0.0.1/tcp/{port}/p2p/12D3KooWMbbPVGsZYh3ChQjue712NHHGNybRRXwnuSpezYjGbCDS")
        nursery.cancel_scope.cancel()


async def _say_nothing(_stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("key", [b"", KEY], ids=["open", "private"])
@pytest.mark.parametrize("silent", [50, PLACES + 20])
async def test_half_open_connections_hold_no_place(key: bytes, silent: int) -> None:
    most = 4
    async with (
        member("alice", private_key=key, max_connections=most) as alice,
        member("bob", private_key=key) as bob,
        AsyncExitStack() as stack,
    ):
        port = int(alice.addresses[0].split("/")[4])
        for _ in range(silent):
            await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port))
        with trio.fail_after(5):
            await bob.connect(alice.addresses[0])
        assert [peer.peer for peer in alice.peers()] == [bob.peer_id]


async def test_who_is_too_slow_for_the_handshake_is_let_go(alice: Network) -> None:
    port = int(alice.addresses[0].split("/")[4])
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(b"\x13/multistream")
        with trio.fail_after(30):
            while await stream.receive_some():
                pass
    with pytest.raises(NetworkError):
        await alice.ping(PeerId("12D3KooWMbbPVGsZYh3ChQjue712NHHGNybRRXwnuSpezYjGbCDS"))
