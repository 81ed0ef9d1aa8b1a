"""The shard beside a plain numpy scan of the same vectors: `python -m tests.bench.shard [rows …]`.

numpy holds everything in memory and stores nothing; it is the floor, not a rival.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import trio

from node.shard import Filter, open_shard
from tests.support.records import clustered, shard_record

DIM, QUERIES, LIMIT = 384, 60, 10


async def main(sizes: list[int]) -> None:
    print(f"{DIM} dimensions, {QUERIES} queries, ms of CPU a query, load {os.getloadavg()[0]:.1f}")
    print("    rows   put/s   shard  filter   numpy   ratio  recall  matrix s  disk MB")
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            print(await measure(rows, Path(folder)))


async def measure(rows: int, folder: Path) -> str:
    vectors = clustered(rows + QUERIES, DIM, 200)
    held, queries = vectors[:rows], vectors[rows:]
    async with open_shard(folder, "test", DIM) as shard:
        start = time.process_time()
        for at in range(0, rows, 2_000):
            part = range(at, min(at + 2_000, rows))
            await shard.put([shard_record(f"{i}", held[i], domain=f"d{i % 10}") for i in part])
        put = rows / (time.process_time() - start)
        start = time.process_time()
        found = [await shard.search(query, limit=LIMIT) for query in queries]
        plain = 1000 * (time.process_time() - start) / QUERIES
        start = time.process_time()
        for query in queries:
            await shard.search(query, limit=LIMIT, where=Filter(domain="d3"))
        filtered = 1000 * (time.process_time() - start) / QUERIES
        start = time.process_time()
        await shard.matrix()
        matrix = time.process_time() - start
    start = time.process_time()
    truth = [np.argpartition(-(held @ query), LIMIT)[:LIMIT] for query in queries]
    flat = 1000 * (time.process_time() - start) / QUERIES
    same = sum(len({int(h.record.text) for h in hits} & set(t.tolist())) for hits, t in zip(found, truth, strict=True))
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    return (
        f"{rows:8}{put:8.0f}{plain:8.2f}{filtered:8.2f}{flat:8.2f}{plain / flat:8.1f}"
        f"{same / QUERIES / LIMIT:8.3f}{matrix:10.2f}{disk:9.1f}"
    )


if __name__ == "__main__":
    trio.run(main, [int(size) for size in sys.argv[1:]] or [1_000, 4_000, 20_000])
