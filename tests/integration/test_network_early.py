"""Requests that go out with the proposal of their protocol: fewer round trips, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from node.network import Network, links
from node.network.early import propose
from node.network.errors import PeerRefused, PeerVanished
from protocols.ids import PeerId
from tests.support.network import meet, member

ECHO = "/test/echo/1"


async def echo(_peer: PeerId, body: bytes) -> bytes:
    return body[::-1]


async def ask(asker: Network, peer: PeerId, body: bytes, **more: Any) -> bytes:
    with trio.fail_after(20):
        return await asker.request(
            peer, ECHO, body, timeout_s=15, max_reply_bytes=1 << 20, **{"repeatable": True, **more}
        )


@pytest.fixture
def negotiated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The protocols that were proposed and waited for."""
    names: list[str] = []

    async def counted(stream: Any, peer: PeerId, protocol: str) -> None:
        names.append(protocol)
        await propose(stream, peer, protocol)

    monkeypatch.setattr(links, "propose", counted)
    return names


async def test_a_protocol_is_negotiated_once_a_connection(alice: Network, bob: Network, negotiated: list[str]) -> None:
    bob.serve(ECHO, echo, max_request_bytes=1 << 20)
    await meet(bob, alice)
    for size in (0, 1, 200, 60_000, 700_000):
        body = bytes(range(256)) * (size // 256 + 1)
        assert await ask(alice, bob.peer_id, body[:size]) == body[:size][::-1]
    assert negotiated.count(ECHO) == 1
    assert await ask(alice, bob.peer_id, b"abc", repeatable=False) == b"cba"
    assert negotiated.count(ECHO) == 2, "what must not be processed twice waits for the peer's yes"
    await alice.disconnect(bob.peer_id)
    await alice.connect(bob.addresses[0])
    assert await ask(alice, bob.peer_id, b"abc") == b"cba"
    assert negotiated.count(ECHO) == 3, "another connection has agreed to nothing yet"


async def test_many_at_once_get_each_its_own_answer(alice: Network, bob: Network) -> None:
    bob.serve(ECHO, echo, max_request_bytes=1 << 20, concurrency=64, per_peer=64)
    await meet(bob, alice)
    await ask(alice, bob.peer_id, b"first")

    async def one(number: int) -> None:
        body = number.to_bytes(4, "big") * 50
        assert await ask(alice, bob.peer_id, body) == body[::-1]

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(one, number)


async def test_a_peer_that_stops_to_speak_a_protocol_refuses_it(alice: Network, bob: Network) -> None:
    bob.serve(ECHO, echo, max_request_bytes=1 << 20)
    await meet(bob, alice)
    await ask(alice, bob.peer_id, b"first")
    bob.host.get_mux().remove_handler(ECHO)
    with pytest.raises(PeerRefused) as refused:
        await ask(alice, bob.peer_id, b"\x13/multistream/1.0.0\n" * 20)
    assert refused.value.reason == "unknown_protocol"
    bob.serve(ECHO, echo, max_request_bytes=1 << 20)
    assert await ask(alice, bob.peer_id, b"abc") == b"cba"


async def test_a_refusal_comes_as_before(alice: Network, bob: Network) -> None:
    bob.serve(ECHO, echo, max_request_bytes=100)
    await meet(bob, alice)
    await ask(alice, bob.peer_id, b"first")
    with pytest.raises(Exception) as failed:  # noqa: PT011 - the kind is compared below
        await ask(alice, bob.peer_id, bytes(500), repeatable=False)
    with pytest.raises(type(failed.value)):
        await ask(alice, bob.peer_id, bytes(500))
    assert await ask(alice, bob.peer_id, b"abc") == b"cba"


async def test_a_peer_that_has_restarted_is_asked_again(alice: Network) -> None:
    async with member("carol") as carol:
        carol.serve(ECHO, echo, max_request_bytes=1 << 20)
        await alice.connect(carol.addresses[0])
        await ask(alice, carol.peer_id, b"first")
        port = carol.addresses[0].split("/")[4]
    async with member("carol", listen=(f"/ip4/127.0.0.1/tcp/{port}",)) as carol:
        carol.serve(ECHO, echo, max_request_bytes=1 << 20)
        assert await ask(alice, carol.peer_id, b"abc") == b"cba"


async def test_a_broken_stream_is_tried_again_only_when_the_request_may_be_repeated(
    alice: Network, bob: Network
) -> None:
    seen: list[bytes] = []

    async def breaks(_peer: PeerId, body: bytes) -> bytes:
        seen.append(body)
        if len(seen) in (2, 4):
            raise PeerVanished("the stream is torn down without an answer")
        return body

    bob.serve(ECHO, breaks, max_request_bytes=1 << 20)
    await meet(bob, alice)
    await ask(alice, bob.peer_id, b"first")
    assert await ask(alice, bob.peer_id, b"second") == b"second"
    with pytest.raises(PeerVanished):
        await ask(alice, bob.peer_id, b"third", repeatable=False)
    assert seen == [b"first", b"second", b"second", b"third"]


async def test_a_stock_peer_notices_nothing(alice: Network, bob: Network) -> None:
    """A handler of the library's own, without any of our serving, reads the frame and answers it."""
    got: list[bytes] = []

    async def handler(stream: Any) -> None:
        data = b""
        while len(data) < 7:
            data += await stream.read(100)
        got.append(data)
        await stream.write((4).to_bytes(4, "big") + b"\x00yes")
        await stream.close()

    bob.host.set_stream_handler(ECHO, handler)
    await meet(bob, alice)
    assert [await ask(alice, bob.peer_id, b"abc") for _ in range(3)] == [b"yes"] * 3
    assert got == [(3).to_bytes(4, "big") + b"abc"] * 3
