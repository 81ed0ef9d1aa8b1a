"""What peers may have: what is pinned or shared, and nothing else; shares within their room."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from node.blocks import NotFound, StoreFull, open_embedded
from node.blocks.cids import RAW, cid_bytes, cid_of
from node.blocks.dag import CHUNK_BYTES, blocks_of, root_of
from node.blocks.embedded import EmbeddedBlocks
from node.blocks.marks import Marks
from protocols.ids import Cid

PINNED = random.Random(1).randbytes(3 * CHUNK_BYTES)
KEPT = random.Random(2).randbytes(2 * CHUNK_BYTES)


async def have(blocks: EmbeddedBlocks, data: bytes) -> list[bool]:
    """For each block of a content, whether a peer may have it; reading and asking must agree."""
    names = [cid_bytes(cid) for cid, _ in blocks_of(data)]
    given = [await blocks.read(name) is not None for name in names]
    assert given == [await blocks.holds(name) for name in names]
    return given


async def kept(blocks: EmbeddedBlocks, data: bytes) -> Cid:
    """A content that is here and not pinned, as after a purchase."""
    cid = await blocks.add(data)
    await blocks.unpin(cid)
    return cid


async def test_only_blocks_below_a_pin_or_a_share_are_served(tmp_path: Path) -> None:
    async with open_embedded(tmp_path, None, share_bytes=1 << 20) as blocks:
        pinned, held = await blocks.add(PINNED), await kept(blocks, KEPT)
        small = await kept(blocks, b"small and unpinned")
        assert all(await have(blocks, PINNED))
        assert not any(await have(blocks, KEPT))
        assert not any(await have(blocks, b"small and unpinned"))
        assert await blocks.share(held)
        assert await blocks.share(small)
        assert all(await have(blocks, KEPT))
        assert all(await have(blocks, b"small and unpinned"))
        await blocks.unpin(pinned)
        assert not any(await have(blocks, PINNED))
        assert all(await have(blocks, KEPT))
        await blocks.drop(held)
        assert not await blocks.has(held)
        assert await blocks.read(b"nonsense") is None


async def test_a_leaf_of_two_contents_is_served_for_the_pinned_one(tmp_path: Path) -> None:
    async with open_embedded(tmp_path, None) as blocks:
        await kept(blocks, PINNED + KEPT)
        await blocks.add(PINNED)
        leaf, foreign = cid_of(PINNED[:CHUNK_BYTES], RAW), cid_of(KEPT[:CHUNK_BYTES], RAW)
        assert await blocks.read(cid_bytes(leaf)) == PINNED[:CHUNK_BYTES]
        assert await blocks.read(cid_bytes(foreign)) is None


async def test_pins_and_shares_outlive_a_restart(tmp_path: Path) -> None:
    async with open_embedded(tmp_path, None, share_bytes=1 << 20) as blocks:
        await blocks.add(PINNED)
        await blocks.share(await kept(blocks, KEPT))
    async with open_embedded(tmp_path, None) as again:
        assert all(await have(again, PINNED))
        assert all(await have(again, KEPT))
        assert await again.pins() == [root_of(PINNED)]


async def test_without_room_nothing_is_shared(tmp_path: Path) -> None:
    async with open_embedded(tmp_path, None) as blocks:
        assert not await blocks.share(await kept(blocks, KEPT))
        assert not any(await have(blocks, KEPT))


async def test_what_is_not_here_is_not_shared(tmp_path: Path) -> None:
    async with open_embedded(tmp_path, None, share_bytes=1 << 20) as blocks:
        assert not await blocks.share(root_of(KEPT))


async def test_the_oldest_share_goes_when_the_room_is_used_up(tmp_path: Path) -> None:
    lots = [random.Random(n).randbytes(CHUNK_BYTES + 1) for n in range(3)]
    async with open_embedded(tmp_path, None, share_bytes=2 * CHUNK_BYTES + 1_000) as blocks:
        for lot in lots[:2]:
            assert await blocks.share(await kept(blocks, lot))
            await trio.sleep(0.01)
        assert [all(await have(blocks, lot)) for lot in lots] == [True, True, False]
        assert await blocks.share(await kept(blocks, lots[2]))
        assert [all(await have(blocks, lot)) for lot in lots] == [False, True, True]
        assert not await blocks.share(await kept(blocks, random.Random(9).randbytes(4 * CHUNK_BYTES)))


async def test_shares_outlive_a_collection_and_give_way_to_own_content(tmp_path: Path) -> None:
    async with open_embedded(tmp_path, None, quota_bytes=5 * CHUNK_BYTES, share_bytes=1 << 20) as blocks:
        shared = await kept(blocks, KEPT)
        await blocks.share(shared)
        await blocks.collect_garbage()
        assert await blocks.has(shared)
        pinned = await blocks.add(PINNED)  # more than is left
        assert not await blocks.has(shared)
        assert await blocks.has(pinned)
        with pytest.raises(StoreFull):
            await blocks.add(KEPT)
        with pytest.raises(NotFound):
            await blocks.pin(shared)


def test_a_mark_is_there_or_not_and_nothing_else_counts(tmp_path: Path) -> None:
    marks, cid = Marks(tmp_path / "pins"), root_of(b"one")
    (tmp_path / "pins" / "no cid").touch()
    assert marks.all() == []
    marks.add(cid)
    marks.add(cid)
    assert cid in marks
    assert Marks(tmp_path / "pins").all() == [cid]
    assert marks.remove(cid)
    assert not marks.remove(cid)
    assert marks.all() == []
