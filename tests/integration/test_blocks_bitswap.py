"""Blocks by Bitswap between real hosts on loopback: the way of those who do not speak our payload protocol."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from node.blocks import NotFound, TooLarge, open_embedded
from node.blocks.cids import cid_bytes
from node.blocks.dag import root_of
from node.network import Network
from node.network.bitswap import PROTOCOLS
from node.network.blockwire import Message, send  # type: ignore[attr-defined]
from tests.support.network import meet


def some(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture(autouse=True)
def only_bitswap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.blocks.serving.PROTOCOL", "/test/unheard-of/1")


async def test_five_megabytes_go_from_one_to_the_other(alice: Network, bob: Network, tmp_path: Path) -> None:
    data = some(5_000_000)
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob) as theirs:
        await meet(alice, bob)
        cid = await mine.add(data)
        assert not await theirs.has(cid)
        assert await theirs.fetch(cid, providers=[alice.peer_id], max_bytes=len(data), timeout_s=20) == data
        assert await theirs.has(cid)
        assert await theirs.pins() == []


async def test_a_fetch_over_the_bound_is_refused(alice: Network, bob: Network, tmp_path: Path) -> None:
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob) as theirs:
        await meet(alice, bob)
        cid = await mine.add(some(1_000_000))
        with pytest.raises(TooLarge):
            await theirs.fetch(cid, providers=[alice.peer_id], max_bytes=999_999, timeout_s=10)
        assert theirs.size_bytes < 200_000  # the root told its size: no leaf was fetched


async def test_a_fetch_goes_on_at_the_next_provider(
    alice: Network, bob: Network, carol: Network, tmp_path: Path
) -> None:
    data = some(3_000_000)
    async with (
        open_embedded(tmp_path / "a", alice) as first,
        open_embedded(tmp_path / "b", bob) as second,
        open_embedded(tmp_path / "c", carol) as asking,
    ):
        await meet(carol, alice, bob)
        cid = await second.add(data)
        root = second._store.get(cid)
        assert root is not None
        first._store.put([(cid, root)])
        assert await first.holds(b"") is False
        providers = [alice.peer_id, bob.peer_id]  # alice has the root and nothing below it
        assert await asking.fetch(cid, providers=providers, max_bytes=len(data), timeout_s=20) == data


async def test_a_fetch_resumes_after_the_provider_has_vanished(
    alice: Network, bob: Network, carol: Network, tmp_path: Path
) -> None:
    data = some(20_000_000)
    async with (
        open_embedded(tmp_path / "a", alice) as first,
        open_embedded(tmp_path / "b", bob) as second,
        open_embedded(tmp_path / "c", carol) as asking,
    ):
        await meet(carol, alice, bob)
        cid = await first.add(data)
        assert await second.add(data) == cid
        async with trio.open_nursery() as nursery:

            async def pull_the_plug() -> None:
                while asking.size_bytes < 3_000_000:
                    await trio.sleep(0.002)
                await alice.disconnect(carol.peer_id)

            nursery.start_soon(pull_the_plug)
            got = await asking.fetch(cid, providers=[alice.peer_id, bob.peer_id], max_bytes=len(data), timeout_s=30)
        assert got == data
        assert 0 < first.sent_bytes < len(data)
        assert 0 < second.sent_bytes < len(data)  # what had come from the first was not asked for again


async def test_a_later_fetch_goes_on_where_a_broken_one_stopped(
    alice: Network, bob: Network, carol: Network, tmp_path: Path
) -> None:
    data = some(20_000_000)
    async with (
        open_embedded(tmp_path / "a", alice) as first,
        open_embedded(tmp_path / "b", bob) as second,
    ):
        await meet(carol, alice, bob)
        cid = await first.add(data)
        await second.add(data)
        async with open_embedded(tmp_path / "c", carol) as asking:
            with pytest.raises(NotFound, match="what came is kept"):
                await asking.fetch(cid, providers=[alice.peer_id], max_bytes=len(data), timeout_s=0.15)
            got = asking.size_bytes
            assert 0 < got < len(data)
        async with open_embedded(tmp_path / "c", carol) as asking:  # also after a restart
            assert asking.size_bytes == got
            await asking.fetch(cid, providers=[bob.peer_id], max_bytes=len(data), timeout_s=30)
        assert 0 < second.sent_bytes <= len(data) - got + 200_000


async def test_what_nobody_has_is_not_found(alice: Network, bob: Network, tmp_path: Path) -> None:
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob) as theirs:
        await meet(alice, bob)
        cid = await mine.add(b"here")
        await mine.unpin(cid)
        await mine.collect_garbage()
        with pytest.raises(NotFound), trio.fail_after(5):
            await theirs.fetch(cid, providers=[alice.peer_id], max_bytes=100, timeout_s=10)


async def test_blocks_that_nobody_asked_for_are_dropped(alice: Network, bob: Network, tmp_path: Path) -> None:
    """Unasked, of another hash function, and damaged on the way: none is stored, and the host goes on serving."""
    data = some(400_000)
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob):
        await meet(alice, bob)
        cid = await mine.add(data)
        before = mine.size_bytes
        message = Message()
        message.payload.add(prefix=b"\x01\x55\x12\x20", data=b"a gift")
        message.payload.add(prefix=b"\x01\x55\x13\x40", data=b"of sha2-512")
        message.payload.add(prefix=b"", data=b"of version 0")
        message.blockPresences.add(cid=b"", type=Message.DontHave)
        stream = await bob._links.stream(alice.peer_id, PROTOCOLS[0])
        await send(stream, message)
        await stream.write(b"\xff\xff\xff\xff\x7f")  # a length of 34 GB
        with trio.fail_after(5):
            while mine._bitswap.unasked < 3:  # type: ignore[union-attr]
                await trio.sleep(0.01)
        assert mine.size_bytes == before
        async with open_embedded(tmp_path / "c", bob) as again:
            got = await again.fetch(cid, providers=[alice.peer_id], max_bytes=len(data), timeout_s=10)
    assert got == data


async def test_who_asks_whether_we_have_gets_no_block(alice: Network, bob: Network, tmp_path: Path) -> None:
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob) as theirs:
        await meet(alice, bob)
        here, absent = await mine.add(b"here"), root_of(b"absent")
        heard: list[tuple[bytes, bytes, int]] = []
        bitswap = theirs._bitswap
        assert bitswap is not None

        async def hear(_peer: object, message: Message) -> None:
            heard.extend((b"", block.data, -1) for block in message.payload)
            heard.extend((presence.cid, b"", presence.type) for presence in message.blockPresences)

        bitswap._on_message = hear  # type: ignore[method-assign,assignment]
        message = Message()
        for cid in (here, absent):
            message.wantlist.entries.add(block=cid_bytes(cid), wantType=Message.Wantlist.Have, sendDontHave=True)
        stream = await bob._links.stream(alice.peer_id, PROTOCOLS[0])
        await send(stream, message)
        with trio.fail_after(5):
            while len(heard) < 2:
                await trio.sleep(0.01)
        assert heard == [(cid_bytes(here), b"", Message.Have), (cid_bytes(absent), b"", Message.DontHave)]


async def test_a_provider_that_goes_silent_is_left_for_the_next(
    alice: Network, bob: Network, carol: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.blocks.fetching.SILENCE_S", 0.3)
    data = some(600_000)

    async def swallow(stream: object) -> None:
        await trio.sleep_forever()

    async with open_embedded(tmp_path / "b", bob) as second, open_embedded(tmp_path / "c", carol) as asking:
        await meet(carol, alice, bob)
        alice.host.set_stream_handler(PROTOCOLS[0], swallow)
        cid = await second.add(data)
        providers = [alice.peer_id, bob.peer_id]
        assert await asking.fetch(cid, providers=providers, max_bytes=len(data), timeout_s=10) == data


async def test_a_provider_known_by_name_only_is_found(
    alice: Network, bob: Network, carol: Network, tmp_path: Path
) -> None:
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob) as theirs:
        await meet(carol, alice, bob)
        cid = await mine.add(b"by name")
        assert await theirs.fetch(cid, providers=[alice.peer_id], max_bytes=10, timeout_s=10) == b"by name"
