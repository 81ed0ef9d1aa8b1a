"""What each step of refining costs beside the embedding it precedes: `python -m tests.bench.refine [reviews]`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import trio

from node.embed import open_embedder
from node.refine import RawItem
from node.refine.clean import clean
from node.refine.duplicates import DuplicateIndex
from node.refine.language import detect
from node.refine.personal import redact
from node.refine.quality import score_text
from node.refine.rules import Rules
from node.refine.sift import sift
from tests.support.reviews import reviews

EMBEDDED = 60


async def main(count: int) -> None:
    items = [RawItem(review["text"], title=review["title"]) for review in reviews()[:count]]
    texts = [item.text for item in items]
    index = DuplicateIndex()
    steps: dict[str, Callable[[], object]] = {
        "clean": lambda: [clean(text) for text in texts],
        "redact": lambda: [redact(text) for text in texts],
        "language": lambda: [detect(text) for text in texts],
        "index": lambda: [index.add(str(number), text) for number, text in enumerate(texts)],
        "nearest": lambda: [index.nearest(text) for text in texts],
        "score": lambda: [score_text(text, "en") for text in texts],
        "sift, whole": lambda: sift(items, DuplicateIndex(), Rules()),
    }
    embedder = await open_embedder()
    start = time.process_time()
    await embedder.embed(texts[:EMBEDDED])
    embed = (time.process_time() - start) / min(EMBEDDED, count)
    print(f"{count} reviews, load {os.getloadavg()[0]:.1f}; embedding one costs {1000 * embed:.1f} ms of CPU")
    for name, step in steps.items():
        start = time.process_time()
        step()
        cost = (time.process_time() - start) / count
        print(f"{name:14}{1e6 * cost:8.0f} µs a review{100 * cost / embed:7.2f} % of the embedding")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
