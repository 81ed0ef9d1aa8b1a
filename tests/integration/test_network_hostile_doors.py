"""Hostile peers at the doors: connections, names, hellos, replies, and garbage on whatever is served (see
test_network_hostile)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from node.network import Network, NetworkError
from node.network.bitswap import serve_bitswap
from node.network.guard.conduct import FORGED
from node.network.peers import HELLO, INTRODUCE, own_hello
from protocols.codec import encode
from protocols.framing import frame
from tests.support.mallory import GONE, Mallory, mallory
from tests.support.network import meet, member, options
from tests.support.siege import ECHO, Attack, Scene, repelled, siege

GARBAGE = (b"\x00", b"\xff" * 12, b"\x05hello", b"\x00\x00\x00\x04abcd", b"\x04abcd", os.urandom(200), bytes(70_000))
# Nothing that is said to these can be wrong: they answer whatever comes, or only listen for its end.
DEAF = {"/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"}
# These say no before they read, to everybody whom we do not relay for or who does not for us.
DECLINING = {"/libp2p/circuit/relay/0.2.0/hop", "/libp2p/circuit/relay/0.2.0/stop"}


# --- connections ---


async def comes_and_goes(foe: Mallory, scene: Scene) -> None:
    """Connects three hundred times."""
    for _ in range(300):
        await foe.meet(scene.alice)


async def speaks_first(foe: Mallory, _scene: Scene) -> None:
    """Says hello all the time."""
    while True:
        await foe.greet()


async def long_hello(foe: Mallory, _scene: Scene) -> None:
    """Says hello at length."""
    while True:
        await foe.ask(HELLO, bytes(1_000_000))


async def odd_hello(foe: Mallory, _scene: Scene) -> None:
    """Says what is no hello."""
    while True:
        await foe.ask(HELLO, os.urandom(100))


async def curious(foe: Mallory, _scene: Scene) -> None:
    """Wants to know everybody, in the words of a madman."""
    while True:
        await foe.ask(INTRODUCE, b"\x82\xa4want\xa0\xa6topics" + b"\xdd\xff\xff\xff\xff")


async def slow_answer(foe: Mallory, scene: Scene) -> None:
    """Begins to answer, and goes on a byte at a time."""

    async def dribble(stream: object) -> None:
        with suppress(*GONE):
            await stream.write((900).to_bytes(4, "big"))  # type: ignore[attr-defined]
            while True:
                await trio.sleep(0.1)
                await stream.write(b"x")  # type: ignore[attr-defined]

    await asked(foe, scene, dribble)


async def giant_answer(foe: Mallory, scene: Scene) -> None:
    """Announces an answer of 4 GiB."""

    async def giant(stream: object) -> None:
        with suppress(*GONE):
            await stream.write(b"\xff\xff\xff\xff")  # type: ignore[attr-defined]

    await asked(foe, scene, giant)


async def odd_answer(foe: Mallory, scene: Scene) -> None:
    """Answers with what is no answer."""

    async def odd(stream: object) -> None:
        with suppress(*GONE):
            await stream.write(frame(b"\x07nonsense"))  # type: ignore[attr-defined]

    await asked(foe, scene, odd)


async def asked(foe: Mallory, scene: Scene, answer: Callable[[object], object]) -> None:
    """Alice asks the foe, which answers so."""
    foe.host.set_stream_handler(ECHO, answer)
    for _ in range(100):
        with suppress(NetworkError, ValueError, Exception):
            await scene.alice.request(foe.peer_id, ECHO, b"", timeout_s=0.5, max_reply_bytes=1_000)
        await trio.sleep(0.01)


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (comes_and_goes, "connecting over and over"),
        (speaks_first, "more than its share"),
        (long_hello, "frames over the bound"),
        (odd_hello, "messages that cannot be read"),
        (curious, "messages that cannot be read"),
        (slow_answer, "requests begun and not finished"),
        (giant_answer, "frames over the bound"),
        (odd_answer, "messages that cannot be read"),
    ],
)
async def test_doors(
    tmp_path: Path,
    attack: Attack,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.network.links.DRIBBLE_S", 0.1)  # half a second of patience for each of twenty answers
    monkeypatch.setattr("node.network.guard.border.STREAM_BURST", 300.0)
    monkeypatch.setattr("node.network.guard.border.STREAMS_PER_S", 50.0)
    assert await repelled(tmp_path, attack) == reason


# --- many names, one address ---


async def test_names_that_come_from_one_address_are_held_at_the_address(tmp_path: Path) -> None:
    """A hundred peers under ever new names: no more come in than an address may have, and bob stays."""
    async with siege(tmp_path, max_per_address=6, local_leniency=1) as scene, AsyncExitStack() as stack:
        met = 0
        for number in range(40):
            foe = await stack.enter_async_context(mallory(f"name {number}"))
            with suppress(*GONE):
                await foe.meet(scene.alice)
                met += 1
        assert 1 <= met <= 6
        assert len(scene.alice.peers()) <= 6
        assert scene.alice._guard.turnstile.refused >= 30
        await stack.aclose()


async def test_an_address_that_brings_banned_peers_is_refused_itself(tmp_path: Path) -> None:
    async with siege(tmp_path, local_leniency=1) as scene:
        for number in range(3):
            async with mallory(f"name {number}") as foe:
                await foe.meet(scene.alice)
                scene.alice.blame(foe.peer_id, FORGED, 4)
                await scene.banned(foe)
                with trio.fail_after(10):
                    while foe.is_connected():
                        await trio.sleep(0.05)
        async with mallory("another name") as foe:
            with pytest.raises(GONE):
                await foe.meet(scene.alice)


async def test_sockets_that_say_nothing_keep_nobody_out(tmp_path: Path) -> None:
    async with siege(tmp_path) as scene, AsyncExitStack() as stack:
        port = int(scene.alice.addresses[0].split("/")[4])
        for _ in range(300):
            stack.push_async_callback((await trio.open_tcp_stream("127.0.0.1", port)).aclose)
        async with member("carol") as carol:
            await meet(scene.alice, scene.bob, carol)
        await stack.aclose()


# --- whatever is served ---


async def test_garbage_on_every_protocol_that_is_served(tmp_path: Path) -> None:
    """The list is the host's own: who adds a protocol finds here whether it holds garbage against its sender."""
    async with siege(tmp_path) as scene, stocked(scene.alice):
        protocols = sorted(str(name) for name in scene.alice.host.get_mux().handlers if name)
        assert {HELLO, INTRODUCE, ECHO, "/meshsub/1.2.0", "/ipfs/bitswap/1.2.0", *DEAF} <= set(protocols)
        unpunished = []
        for protocol in protocols:
            async with mallory(protocol) as foe:
                await foe.meet(scene.alice)
                with trio.move_on_after(20):
                    await babble(foe, protocol, scene)
                if foe.peer_id not in {ban.peer for ban in scene.alice.banned()}:
                    unpunished.append(protocol)
        assert set(unpunished) <= DEAF | DECLINING, unpunished


async def babble(foe: Mallory, protocol: str, scene: Scene) -> None:
    """Garbage until the foe is banned, or has said enough."""
    for _ in range(12):
        for garbage in GARBAGE:
            if foe.peer_id in {ban.peer for ban in scene.alice.banned()}:
                return
            with suppress(*GONE):
                stream = await foe.stream(protocol)
                await stream.write(garbage)
                await stream.close()
            await trio.sleep(0.01)


@asynccontextmanager
async def stocked(alice: Network) -> AsyncIterator[None]:
    """Alice with what a daemon serves beside the network itself."""

    class Nothing:
        async def read(self, cid: bytes) -> bytes | None:
            return None

        async def holds(self, cid: bytes) -> bool:
            return False

    async with serve_bitswap(alice, Nothing()):
        yield


async def test_an_honest_peer_that_restarts_often_stays_welcome(tmp_path: Path) -> None:
    async with siege(tmp_path) as scene:
        for _ in range(15):
            async with member("carol") as carol:
                await meet(scene.alice, scene.bob, carol)
        assert scene.alice.banned() == []


async def test_the_operator_lifts_a_ban_by_connecting(alice: Network, bob: Network) -> None:
    await meet(alice, bob)
    alice.blame(bob.peer_id, FORGED, 4)
    with trio.fail_after(10):
        while alice.peers() or bob.peers():
            await trio.sleep(0.05)
    with pytest.raises(NetworkError, match="banned until"):
        await alice.request(bob.peer_id, ECHO, b"", timeout_s=5, max_reply_bytes=10)
    assert encode(own_hello(options(), []))
    await alice.connect(bob.addresses[0])
    assert alice.banned() == []
    assert [peer.score for peer in alice.peers()] == [0]
