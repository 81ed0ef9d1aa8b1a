"""Embedding speed and closeness, in one run on one machine: `python -m tests.bench.embed [reviews]`.

"of fp32" is how many times as fast as float32 the precision is, by CPU time: documents a second depend on the machine
and on what else it does, that ratio hardly does.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import trio

from node.embed import EmbedderOptions, OnnxEmbedder, open_embedder
from node.embed.precision import Precision
from tests.support.reviews import reviews

ROUNDS = 3


async def main(count: int) -> None:
    texts = [f"{review['title']}\n{review['text']}" for review in reviews()[:count]]
    length = sum(map(len, texts)) / count
    print(f"{count} reviews of {length:.0f} characters, 2 threads, load {os.getloadavg()[0]:.1f}")
    print("            docs/s  cpu ms of fp32   cosine    least  query ms  load s")
    exact = cost = None
    for precision in (Precision.FLOAT, Precision.BLOCKS, Precision.INT8):
        start = time.perf_counter()
        embedder = await open_embedder(EmbedderOptions(precision=precision))
        loaded = time.perf_counter() - start
        wall, cpu, vectors = await measure(embedder, texts)
        exact, cost = (vectors, cpu) if exact is None or cost is None else (exact, cost)
        cosines = (vectors * exact).sum(axis=1)
        print(
            f"{precision.value:10}{count / wall:8.1f}{1000 * cpu / count:8.1f}{cost / cpu:8.2f}"
            f"{cosines.mean():9.4f}{cosines.min():9.4f}{await latency(embedder):10.1f}{loaded:8.2f}"
        )


async def measure(embedder: OnnxEmbedder, texts: list[str]) -> tuple[float, float, np.ndarray]:
    """Best wall time, its CPU time, and the vectors."""
    best = (float("inf"), 0.0)
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        vectors = await embedder.embed(texts)
        best = min(best, (time.perf_counter() - wall, time.process_time() - cpu))
    return *best, vectors


async def latency(embedder: OnnxEmbedder) -> float:
    """Median milliseconds of a short query."""
    took = []
    for number in range(30):
        start = time.perf_counter()
        await embedder.embed([f"a light summer dress in size {number}"], query=True)
        took.append(time.perf_counter() - start)
    return 1000 * sorted(took)[15]


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 100)
