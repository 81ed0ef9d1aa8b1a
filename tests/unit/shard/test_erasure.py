"""What is forgotten leaves the disk, however few of its neighbours go with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from node.shard import ShardRecord, open_shard
from tests.support.records import clustered, shard_record

DIM = 64


def reviews(vectors: NDArray[np.float32]) -> list[ShardRecord]:
    return [shard_record(f"review {n}: the hem of dress {n * n} is narrow", vector) for n, vector in enumerate(vectors)]


def on_disk(folder: Path, what: bytes) -> bool:
    return any(what in path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_one_of_many_leaves_the_disk_with_its_vector(tmp_path: Path) -> None:
    records = reviews(clustered(200, DIM, 4))
    gone, kept = records[7], records[8]
    async with open_shard(tmp_path, "test", DIM) as shard:
        await shard.put(records)
        assert on_disk(tmp_path, gone.text.encode()), "the look at the disk must be able to see a record"
        assert on_disk(tmp_path, gone.vector.tobytes())
        assert await shard.forget([gone.id]) == 1
        assert not on_disk(tmp_path, gone.text.encode())
        assert not on_disk(tmp_path, gone.vector.tobytes())
        assert on_disk(tmp_path, kept.text.encode())
        assert await shard.count() == 199
        assert [hit.record.id for hit in await shard.search(kept.vector, limit=1)] == [kept.id]
        left = {record.id: record.vector for record in await shard.list(limit=1_000)}
        assert left.keys() == {record.id for record in records} - {gone.id}
        np.testing.assert_array_equal(left[kept.id], kept.vector)


@pytest.mark.slow
async def test_one_of_an_indexed_shard_is_in_no_index_either(tmp_path: Path) -> None:
    records = reviews(clustered(6_000, DIM, 20))
    async with open_shard(tmp_path, "test", DIM) as shard:
        for start in range(0, len(records), 1_500):
            await shard.put(records[start : start + 1_500])
        assert await shard.forget([records[1_600].id]) == 1
        assert not on_disk(tmp_path, records[1_600].vector.tobytes())
        assert await shard.count() == 5_999
        assert (await shard.search(records[1_601].vector, limit=1))[0].record.id == records[1_601].id
        hits = await shard.search(records[1_600].vector, limit=50)
        assert records[1_600].id not in {hit.record.id for hit in hits}
