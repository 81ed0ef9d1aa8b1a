"""Real Kubo fetches from us, and we from it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from node.blocks import open_embedded
from node.network import Network
from protocols.ids import Cid, PeerId
from tests.support import kubo


@pytest.mark.interop
@pytest.mark.skipif(bool(kubo.missing()), reason=kubo.missing() or "present")
async def test_kubo_and_we_fetch_from_each_other(alice: Network, tmp_path: Path) -> None:
    async with kubo.node(tmp_path) as other, open_embedded(tmp_path / "store", alice) as blocks:
        peer = PeerId(other.peer)
        await alice._links.dial(peer, [other.address])  # Kubo says no hello: it is no peer of our network
        assert alice.peers() == []
        for size in (1_000, 1_000_000, 10_000_000):
            theirs, mine = random.Random(size).randbytes(size), random.Random(-size).randbytes(size)
            source, target = tmp_path / f"source{size}", tmp_path / f"target{size}"
            source.write_bytes(theirs)
            with trio.fail_after(60):
                cid = Cid(await other.add(source))
                assert await blocks.fetch(cid, providers=[peer], max_bytes=size, timeout_s=30) == theirs
                await other.get(await blocks.add(mine), target)
            assert target.read_bytes() == mine
