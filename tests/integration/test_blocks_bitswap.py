"""Blocks between real hosts on loopback."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from node.blocks import NotFound, TooLarge, open_embedded
from node.network import Network
from tests.support.network import meet


def some(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


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
        root_only = (tmp_path / "b" / "blocks").glob(f"*/{cid}.block")
        target = tmp_path / "a" / "blocks" / next(root_only).parent.name / f"{cid}.block"
        target.parent.mkdir()
        target.write_bytes((tmp_path / "b" / "blocks" / target.parent.name / target.name).read_bytes())
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
                while asking.size_bytes < 1_000_000:
                    await trio.sleep(0.005)
                await alice.disconnect(carol.peer_id)
                alice.host.get_network().connection_gate.deny_list = ["127.0.0.0/8"]

            nursery.start_soon(pull_the_plug)
            got = await asking.fetch(cid, providers=[alice.peer_id, bob.peer_id], max_bytes=len(data), timeout_s=30)
        assert got == data


async def test_what_nobody_has_is_not_found(alice: Network, bob: Network, tmp_path: Path) -> None:
    async with open_embedded(tmp_path / "a", alice) as mine, open_embedded(tmp_path / "b", bob) as theirs:
        await meet(alice, bob)
        cid = await mine.add(b"here")
        await mine.unpin(cid)
        await mine.collect_garbage()
        with pytest.raises(NotFound), trio.fail_after(5):
            await theirs.fetch(cid, providers=[alice.peer_id], max_bytes=100, timeout_s=10)
