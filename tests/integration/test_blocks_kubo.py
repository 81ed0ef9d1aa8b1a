"""Real Kubo fetches from us, and we from it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from node.blocks import open_embedded
from node.blocks.dag import CHUNK_BYTES, LINKS_PER_NODE
from node.network import Network
from protocols.ids import Cid, PeerId
from tests.support import kubo
from tests.support.network import member


@pytest.mark.interop
@pytest.mark.skipif(bool(kubo.missing()), reason=kubo.missing() or "present")
async def test_kubo_and_we_fetch_from_each_other(alice: Network, tmp_path: Path) -> None:
    async with kubo.node(tmp_path) as other, open_embedded(tmp_path / "store", alice) as blocks:
        peer = PeerId(other.peer)
        await alice._links.dial(peer, [other.address])  # Kubo says no hello: it is no peer of our network
        assert alice.peers() == []
        for size in (1, CHUNK_BYTES, CHUNK_BYTES + 1, 10_000_000, LINKS_PER_NODE * CHUNK_BYTES + 1):
            theirs, mine = random.Random(size).randbytes(size), random.Random(-size).randbytes(size)
            source, target = tmp_path / f"source{size}", tmp_path / f"target{size}"
            source.write_bytes(theirs)
            with trio.fail_after(60):
                cid = Cid(await other.add(source))
                assert await blocks.fetch(cid, providers=[peer], max_bytes=size, timeout_s=30) == theirs
                await other.get(await blocks.add(mine), target)
            assert target.read_bytes() == mine


@pytest.mark.interop
@pytest.mark.skipif(bool(kubo.missing()), reason=kubo.missing() or "present")
async def test_kubo_finds_what_we_provide_and_we_find_what_it_provides(tmp_path: Path) -> None:
    """By records alone: neither is told of the other, both know a third Kubo that keeps the records."""
    data, theirs = random.Random(1).randbytes(1_000_000), random.Random(2).randbytes(600_000)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(theirs)
    for folder in ("keeper", "other"):
        (tmp_path / folder).mkdir()
    async with kubo.node(tmp_path / "keeper") as keeper, kubo.node(tmp_path / "other") as other:
        await other.connect(keeper.address)
        async with (
            member("alice", ipfs_peers=(keeper.address,)) as alice,
            open_embedded(tmp_path / "store", alice) as blocks,
        ):
            with trio.fail_after(120):
                while not alice.foreign(PeerId(keeper.peer)):
                    await trio.sleep(0.05)
                cid = await blocks.add(data)
                while not (blocks.provided and blocks.provided.providing):
                    await trio.sleep(0.05)
                await other.get(cid, target)
                assert target.read_bytes() == data
                theirs_cid = Cid(await other.add(source))
                assert await blocks.fetch(theirs_cid, providers=[], max_bytes=600_000, timeout_s=60) == theirs
