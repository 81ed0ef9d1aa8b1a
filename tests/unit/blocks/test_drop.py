"""Dropping content at once, without what others still need."""

from __future__ import annotations

import random
from pathlib import Path

from node.blocks import open_embedded
from node.blocks.dag import CHUNK_BYTES


async def test_drop_removes_what_no_other_pin_needs_and_only_that(tmp_path: Path) -> None:
    dice = random.Random(1)
    shared, one, two, loose = (dice.randbytes(CHUNK_BYTES) for _ in range(4))
    async with open_embedded(tmp_path, None) as blocks:
        first, second = await blocks.add(shared + one), await blocks.add(shared + two)
        cached = await blocks.add(loose)
        await blocks.unpin(cached)
        assert await blocks.drop(first)
        assert not await blocks.has(first)
        assert await blocks.has(second)
        assert await blocks.has(cached), "a payload that a purchase still needs is nobody's pin"
        assert await blocks.pins() == [second]
        stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert one not in stored
        assert all(leaf in stored for leaf in (shared, two, loose))
        assert await blocks.drop(first), "again, harmless"
