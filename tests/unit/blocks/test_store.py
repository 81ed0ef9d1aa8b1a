"""The block store on disk, its quota and its collection."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.blocks import NotFound, StoreFull, open_embedded
from node.blocks.cids import RAW, cid_of
from node.blocks.dag import CHUNK_BYTES, root_of
from node.blocks.store import BlockStore
from protocols.ids import Cid


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "blocks").rglob("*") if path.is_file())


async def test_content_pins_and_size_survive_a_restart(tmp_path: Path) -> None:
    data = os.urandom(3 * CHUNK_BYTES)
    async with open_embedded(tmp_path, None) as blocks:
        cid = await blocks.add(data)
        size = blocks.size_bytes
    async with open_embedded(tmp_path, None) as blocks:
        assert await blocks.fetch(cid, providers=[], max_bytes=len(data), timeout_s=5) == data
        assert await blocks.pins() == [cid]
        assert blocks.size_bytes == size > len(data)


async def test_a_collection_removes_what_no_pin_reaches_and_nothing_else(tmp_path: Path) -> None:
    kept, left = os.urandom(2 * CHUNK_BYTES), os.urandom(2 * CHUNK_BYTES)
    async with open_embedded(tmp_path, None) as blocks:
        pinned, loose = await blocks.add(kept), await blocks.add(left)
        await blocks.unpin(loose)
        removed = await blocks.collect_garbage()
        assert removed > len(left)
        assert not await blocks.has(loose)
        assert await blocks.fetch(pinned, providers=[], max_bytes=len(kept), timeout_s=5) == kept


async def test_blocks_shared_with_a_pinned_tree_stay(tmp_path: Path) -> None:
    chunk = os.urandom(CHUNK_BYTES)
    async with open_embedded(tmp_path, None) as blocks:
        pinned, loose = await blocks.add(chunk + b"a"), await blocks.add(chunk + b"b")
        await blocks.unpin(loose)
        await blocks.collect_garbage()
        assert await blocks.fetch(pinned, providers=[], max_bytes=CHUNK_BYTES + 1, timeout_s=5) == chunk + b"a"


async def test_over_the_quota_the_longest_unused_go_first_and_pinned_ones_never(tmp_path: Path) -> None:
    async with open_embedded(tmp_path, None, quota_bytes=3_000) as blocks:
        pinned = await blocks.add(b"p" * 1_000)
        cids = []
        for number, name in enumerate((b"a", b"b")):
            cid = await blocks.add(name * 1_000)
            await blocks.unpin(cid)
            cids.append(cid)
            (path,) = (tmp_path / "blocks").glob(f"*/{cid}.block")
            os.utime(path, (number + 1, number + 1))
        assert await blocks.has(cids[0])
        await blocks.add(b"c" * 1_000)
        assert not await blocks.has(cids[0])
        assert await blocks.has(cids[1])
        assert await blocks.has(pinned)
        with pytest.raises(StoreFull, match="the rest is pinned"):
            await blocks.add(b"d" * 2_000)
        assert await blocks.has(pinned)
        assert len(await blocks.pins()) == 2


async def test_what_is_not_here_cannot_be_pinned(tmp_path: Path) -> None:
    async with open_embedded(tmp_path, None) as blocks:
        with pytest.raises(NotFound, match="fetch it before"):
            await blocks.pin(root_of(b"elsewhere"))
        await blocks.unpin(root_of(b"elsewhere"))


def test_a_block_that_went_bad_on_the_disk_counts_as_missing(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    cid = cid_of(b"good", RAW)
    store.put([(cid, b"good")])
    (path,) = files(tmp_path)
    path.write_bytes(b"evil")
    assert store.get(cid) is None
    assert files(tmp_path) == []
    store.put([(cid, b"good")])
    assert store.get(cid) == b"good"


def test_half_written_blocks_of_a_crash_are_swept(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    cid = cid_of(b"whole", RAW)
    store.put([(cid, b"whole")])
    (path,) = files(tmp_path)
    path.with_suffix(".writing").write_bytes(b"hal")
    again = BlockStore(tmp_path)
    assert files(tmp_path) == [path]
    assert again.size_bytes == 5


def test_a_name_that_is_a_path_is_refused(tmp_path: Path) -> None:
    from protocols.errors import BadIdentifier

    store = BlockStore(tmp_path)
    for name in ("../../secret", "b/../../secret"):
        with pytest.raises(BadIdentifier):
            store.get(Cid(name))
