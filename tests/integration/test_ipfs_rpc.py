"""The external IPFS daemon behind the same interface, against a real one (js-ipfs from npm)."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from mmap import mmap
from pathlib import Path

import pytest
import trio

from node.blocks import BlocksError, DaemonUnreachable, NotFound, TooLarge, open_embedded, open_rpc
from node.blocks.dag import CHUNK_BYTES, LINKS_PER_NODE, root_of
from node.blocks.rpc import IpfsRpcBlocks
from protocols.ids import Cid
from tests.support import jsipfs


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[IpfsRpcBlocks]:
    async with jsipfs.daemon(tmp_path) as address, open_rpc(address) as blocks:
        yield blocks


@pytest.mark.interop
@pytest.mark.skipif(bool(jsipfs.missing()), reason=jsipfs.missing() or "present")
async def test_a_real_daemon_adds_pins_reads_and_unpins_under_our_cids(daemon: IpfsRpcBlocks, tmp_path: Path) -> None:
    full = LINKS_PER_NODE * CHUNK_BYTES  # one inner node; one byte more and a lone tail stands beside it
    sizes = [0, 1, 1_000, CHUNK_BYTES, CHUNK_BYTES + 1, 1_000_000, full, full + 1]
    added: dict[Cid, bytes] = {}
    with trio.fail_after(120):
        for size in sizes:
            data = random.Random(size).randbytes(size)
            cid = await daemon.add(data)  # raises BadBlock when the daemon names it otherwise
            assert cid == root_of(data)
            added[cid] = data
        assert set(added) <= set(await daemon.pins())
        for cid, data in added.items():
            assert await daemon.has(cid)
            assert await daemon.fetch(cid, providers=[], max_bytes=len(data), timeout_s=30) == data
        cid, data = next(reversed(added.items()))
        (tmp_path / "file").write_bytes(data)
        assert await daemon.add_file(tmp_path / "file") == cid
        mapped = await daemon.fetch_mapped(cid, providers=[], max_bytes=len(data), timeout_s=30)
        assert isinstance(mapped, mmap)
        assert mapped[:] == data
        with pytest.raises(TooLarge):
            await daemon.fetch(cid, providers=[], max_bytes=len(data) - 1, timeout_s=30)
        await daemon.unpin(cid)
        await daemon.unpin(cid)
        assert cid not in await daemon.pins()
        await daemon.pin(cid)
        assert cid in await daemon.pins()
        absent = root_of(b"what nobody ever added")
        assert not await daemon.has(absent)
        with pytest.raises(NotFound):
            await daemon.pin(absent)
        with pytest.raises(NotFound):
            await daemon.fetch(absent, providers=[], max_bytes=100, timeout_s=3)


async def test_a_daemon_that_is_not_there_is_said_clearly() -> None:
    with pytest.raises(DaemonUnreachable, match="no IPFS daemon answers at /ip4"):
        async with open_rpc("/ip4/127.0.0.1/tcp/1"):
            raise AssertionError("opened")


async def test_an_address_that_is_none_is_said_clearly() -> None:
    with pytest.raises(BlocksError, match="no address of an IPFS daemon"):
        async with open_rpc("localhost:5001"):
            raise AssertionError("opened")


async def test_the_embedded_store_without_a_network_gives_what_it_has(tmp_path: Path) -> None:
    async with open_embedded(tmp_path, None) as blocks:
        cid = await blocks.add(b"kept")
        assert await blocks.fetch(cid, providers=[], max_bytes=4, timeout_s=1) == b"kept"
        with pytest.raises(NotFound):
            await blocks.fetch(root_of(b"other"), providers=[], max_bytes=5, timeout_s=1)
