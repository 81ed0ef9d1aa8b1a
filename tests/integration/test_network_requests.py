"""Requests and dialogues between real hosts on loopback."""

from __future__ import annotations

import pytest
import trio

from node.network import (
    DeadlineExceeded,
    Dialogue,
    Network,
    PeerBusy,
    PeerRefused,
    PeerUnreachable,
    PeerVanished,
    Refuse,
    ReplyTooLarge,
    open_network,
)
from protocols.errors import RuleBroken
from protocols.ids import PeerId
from tests.support.network import meet, options, seed

ECHO = "/test/echo/1"


async def echo(_peer: PeerId, body: bytes) -> bytes:
    return body


async def test_a_request_is_answered(alice: Network, bob: Network) -> None:
    asked: list[PeerId] = []

    async def note(peer: PeerId, body: bytes) -> bytes:
        asked.append(peer)
        return body[::-1]

    bob.serve(ECHO, note, max_request_bytes=100)
    await meet(alice, bob)
    assert await alice.request(bob.peer_id, ECHO, b"abc", timeout_s=5, max_reply_bytes=3) == b"cba"
    assert asked == [alice.peer_id]


async def test_four_megabytes_go_there_and_back(alice: Network, bob: Network) -> None:
    body = bytes(range(256)) * 16_384
    bob.serve(ECHO, echo, max_request_bytes=len(body))
    await meet(alice, bob)
    assert await alice.request(bob.peer_id, ECHO, body, timeout_s=20, max_reply_bytes=len(body)) == body


async def test_a_raising_handler_does_not_end_the_host(alice: Network, bob: Network) -> None:
    async def boom(_peer: PeerId, _body: bytes) -> bytes:
        raise RuntimeError("a bug in a handler")

    bob.serve("/test/boom/1", boom, max_request_bytes=10)
    bob.serve(ECHO, echo, max_request_bytes=10)
    await meet(alice, bob)
    for _ in range(3):
        with pytest.raises(PeerRefused) as caught:
            await alice.request(bob.peer_id, "/test/boom/1", b"", timeout_s=5, max_reply_bytes=10)
        assert caught.value.reason == "internal"
        assert "bug" not in str(caught.value)  # what went wrong inside is nobody else's business
    assert await alice.request(bob.peer_id, ECHO, b"alive", timeout_s=5, max_reply_bytes=10) == b"alive"


async def test_a_refusal_carries_its_kind_and_reason(alice: Network, bob: Network) -> None:
    async def no(_peer: PeerId, body: bytes) -> bytes:
        if body == b"rule":
            raise RuleBroken("the offer has expired")
        raise Refuse("come back tomorrow", "closed")

    bob.serve("/test/no/1", no, max_request_bytes=10)
    await meet(alice, bob)
    with pytest.raises(PeerRefused, match="come back tomorrow") as caught:
        await alice.request(bob.peer_id, "/test/no/1", b"", timeout_s=5, max_reply_bytes=0)
    assert caught.value.reason == "closed"
    with pytest.raises(PeerRefused, match="expired") as caught:
        await alice.request(bob.peer_id, "/test/no/1", b"rule", timeout_s=5, max_reply_bytes=0)
    assert caught.value.reason == "rule_broken"


async def test_an_unknown_protocol_is_a_refusal(alice: Network, bob: Network) -> None:
    await meet(alice, bob)
    with pytest.raises(PeerRefused, match="does not speak"):
        await alice.request(bob.peer_id, "/test/nothing/1", b"", timeout_s=5, max_reply_bytes=10)


async def test_a_reply_over_the_bound_is_not_read(alice: Network, bob: Network) -> None:
    async def long(_peer: PeerId, _body: bytes) -> bytes:
        return bytes(100_000)

    bob.serve("/test/long/1", long, max_request_bytes=10)
    await meet(alice, bob)
    with pytest.raises(ReplyTooLarge, match="100001"):
        await alice.request(bob.peer_id, "/test/long/1", b"", timeout_s=5, max_reply_bytes=99_998)


async def test_a_request_over_the_bound_never_reaches_the_handler(alice: Network, bob: Network) -> None:
    seen: list[bytes] = []

    async def note(_peer: PeerId, body: bytes) -> bytes:
        seen.append(body)
        return b""

    bob.serve(ECHO, note, max_request_bytes=1_000)
    await meet(alice, bob)
    with pytest.raises(PeerRefused, match="limit is 1000") as caught:
        await alice.request(bob.peer_id, ECHO, bytes(2_000_000), timeout_s=5, max_reply_bytes=10)
    assert caught.value.reason == "too_large"
    assert seen == []


async def test_silence_ends_at_the_deadline_and_is_not_retried(alice: Network, bob: Network) -> None:
    calls = 0

    async def sleepy(_peer: PeerId, _body: bytes) -> bytes:
        nonlocal calls
        calls += 1
        await trio.sleep_forever()
        return b""

    bob.serve("/test/sleepy/1", sleepy, max_request_bytes=10)
    await meet(alice, bob)
    with pytest.raises(DeadlineExceeded):
        await alice.request(bob.peer_id, "/test/sleepy/1", b"", timeout_s=0.3, max_reply_bytes=10)
    assert calls == 1


async def test_a_peer_that_dies_while_it_answers_is_not_asked_twice(alice: Network, bob: Network) -> None:
    calls = 0

    async def die(_peer: PeerId, _body: bytes) -> bytes:
        nonlocal calls
        calls += 1
        await bob.disconnect(alice.peer_id)
        await trio.sleep_forever()
        return b""

    bob.serve("/test/die/1", die, max_request_bytes=10)
    await meet(alice, bob)
    with pytest.raises(PeerVanished):
        await alice.request(bob.peer_id, "/test/die/1", b"", timeout_s=5, max_reply_bytes=10)
    assert calls == 1


async def test_a_request_after_the_connection_broke_reconnects(alice: Network, bob: Network) -> None:
    bob.serve(ECHO, echo, max_request_bytes=10)
    await meet(bob, alice)
    await bob.disconnect(alice.peer_id)
    assert await alice.request(bob.peer_id, ECHO, b"again", timeout_s=5, max_reply_bytes=10) == b"again"


async def test_an_unknown_peer_is_unreachable(alice: Network) -> None:
    stranger = PeerId("12D3KooWMbbPVGsZYh3ChQjue712NHHGNybRRXwnuSpezYjGbCDS")
    with pytest.raises(PeerUnreachable, match="no address"):
        await alice.request(stranger, ECHO, b"", timeout_s=5, max_reply_bytes=10)


async def test_more_than_the_bound_of_one_peer_is_told_to_wait(alice: Network, bob: Network) -> None:
    release = trio.Event()
    running = 0

    async def hold(_peer: PeerId, _body: bytes) -> bytes:
        nonlocal running
        running += 1
        await release.wait()
        return b"done"

    bob.serve("/test/hold/1", hold, max_request_bytes=10, concurrency=4, per_peer=2)
    await meet(alice, bob)
    replies: list[bytes] = []

    async def ask() -> None:
        replies.append(await alice.request(bob.peer_id, "/test/hold/1", b"", timeout_s=5, max_reply_bytes=10))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
        with trio.fail_after(2):
            while running < 2:
                await trio.sleep(0.01)
        with pytest.raises(PeerBusy):
            await alice.request(bob.peer_id, "/test/hold/1", b"", timeout_s=5, max_reply_bytes=10)
        release.set()
    assert replies == [b"done", b"done"]


async def test_a_peer_known_by_name_only_is_found_through_another(alice: Network, bob: Network, carol: Network) -> None:
    bob.serve(ECHO, echo, max_request_bytes=10)
    await meet(carol, alice, bob)
    assert await alice.request(bob.peer_id, ECHO, b"hi", timeout_s=5, max_reply_bytes=10) == b"hi"


async def test_a_dialogue_goes_both_ways(alice: Network, bob: Network) -> None:
    async def double(peer: PeerId, dialogue: Dialogue) -> None:
        assert peer == alice.peer_id
        while True:
            number = await dialogue.receive(max_bytes=4)
            if not number:
                return
            await dialogue.send(number * 2)

    bob.serve_stream("/test/talk/1", double)
    await meet(alice, bob)
    async with alice.open_stream(bob.peer_id, "/test/talk/1") as dialogue:
        for word in (b"a", b"bc", b"def"):
            await dialogue.send(word)
            assert await dialogue.receive(max_bytes=10) == word * 2
        await dialogue.send(b"")
        with pytest.raises(PeerVanished, match="ended"):
            await dialogue.receive(max_bytes=10)


async def test_a_dialogue_that_raises_is_reset_and_the_host_lives(alice: Network, bob: Network) -> None:
    async def boom(_peer: PeerId, dialogue: Dialogue) -> None:
        await dialogue.receive(max_bytes=10)
        raise RuntimeError("a bug in a dialogue")

    async def closed(_peer: PeerId, _dialogue: Dialogue) -> None:
        raise Refuse("not today", "closed")

    bob.serve_stream("/test/boom/1", boom)
    await meet(alice, bob)
    for _ in range(2):
        async with alice.open_stream(bob.peer_id, "/test/boom/1") as dialogue:
            await dialogue.send(b"x")
            with pytest.raises(PeerVanished):
                await dialogue.receive(max_bytes=10)
    assert await alice.ping(bob.peer_id) < 5


async def test_the_exception_of_the_block_comes_out_unwrapped() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_network(options(), seed("dora")):
            raise KeyError("mine")
