"""What training on bought reviews gives: `python -m tests.bench.training [draws]`.

The demo's situation with the default embedder: a builder with a few records of his own buys two contributors'
reviews, trains, and is judged on the fixed held-out quarter: each title must find its own text among all held-out
texts. Every draw takes other reviews. "own only" is the same trainer on the builder's own records: the difference is
what the bought ones brought.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import trio

from node.embed import Embedder, EmbedderOptions, open_embedder
from node.journal import open_journal
from node.journal.models import Models as ModelStore
from node.models.artifacts import Artifacts
from node.models.workshop import TrainedModel, Workshop
from node.observe.events import EventBus
from node.shard.record import ShardRecord
from protocols.sealed.records import record_id
from tests.support.accounts import wallet_of
from tests.support.models import Shelf, Teacher, silent
from tests.support.reviews import reviews

DRAWS = 4
OWN, BOUGHT = 120, 300
PARTS = {"": ("Pants", "Jeans", "Skirts", "Jackets"), "bob": ("Dresses",), "carol": ("Knits", "Blouses", "Sweaters")}
CALLS = 50


async def draw(embedder: Embedder, seed: int) -> list[ShardRecord]:
    """The builder's shard: its vectors are of title and text together, as the refiner makes them."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, classes in PARTS.items():
        fitting = [review for review in reviews() if review["class"] in classes]
        count = BOUGHT if name else OWN
        rows += [(name, fitting[at]) for at in rng.permutation(len(fitting))[:count]]
    vectors = await embedder.embed([f"{review['title']}\n{review['text']}" for _, review in rows])
    return [
        ShardRecord(
            id=record_id(review["title"], review["text"]), text=review["text"], title=review["title"], domain="fashion",
            labels={"class": review["class"]}, licence="CC0-1.0", consent="", vector=vector, model_id=embedder.model_id,
            origin="bought" if name else "own", owner=wallet_of(name).address if name else "", dataset=1 if name else 0,
        )
        for (name, review), vector in zip(rows, vectors, strict=True)
    ]  # fmt: skip


async def main(draws: int) -> None:
    embedder = await open_embedder(EmbedderOptions())
    print("task            draw  train  held-out  before  after  gain (95 % interval)    own only  seconds  method")
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(draws):
            async with open_journal(Path(folder) / f"{seed}.db") as journal:
                records = await draw(embedder, seed)
                workshop = Workshop(
                    shard=Shelf(records), embedder=embedder, store=ModelStore(journal), wallet=wallet_of("alice"),
                    artifacts=Artifacts(Path(folder) / str(seed)), events=EventBus(), lessons=Teacher(),
                    held_out_ppm=250_000, threads=2, clock=lambda: 0,
                )  # fmt: skip
                for task in ("retrieval", "classification"):
                    made = await workshop.train("fashion", task, progress=silent)
                    show(task, seed, made)
                    if seed == 0:
                        weights = {share.address[:8]: share.weight_ppm for share in made.manifest.shares}
                        print(f"    weights in ppm: {weights}")
                        await serve(embedder, Path(folder) / str(seed), made)


def show(task: str, seed: int, made: TrainedModel) -> None:
    """One line of the table."""
    found, own = made.report.evaluation, made.report.own_only
    gain = f"{found.gain.mean:+.3f} ({found.gain.low:+.3f} … {found.gain.high:+.3f})"
    print(
        f"{task:15} {seed:4}  {made.manifest.trained_on:5}  {found.held_out:8}  {found.before.mean:.3f}   "
        f"{found.after.mean:.3f}  {gain:24} {'-' if own is None else format(own, '.3f'):8}  "
        f"{made.manifest.seconds:7.1f}  {made.manifest.method} {made.manifest.settings}",
        flush=True,
    )


async def serve(embedder: Embedder, folder: Path, made: TrainedModel) -> None:
    """What one input costs a provider, beside the embedder alone."""
    runtime = Artifacts(folder).runtime(made.row.model, made.manifest.artifact)
    whole, adapter = [], []
    for number in range(CALLS):
        started = time.perf_counter()
        vectors = await embedder.embed([f"a dress that fits, number {number}"], query=True)
        between = time.perf_counter()
        await runtime.apply(vectors, "query")
        whole.append(time.perf_counter() - started)
        adapter.append(time.perf_counter() - between)
    print(f"    one input: {np.median(whole) * 1e3:.1f} ms, of which the model {np.median(adapter) * 1e3:.2f} ms")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else DRAWS)
