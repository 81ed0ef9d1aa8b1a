"""Collecting real reviews, and collecting through kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node.collect import Collector
from node.journal import open_journal
from node.observe.events import EventBus
from node.refine import Refiner
from node.shard import open_shard
from tests.support.embedder import HashEmbedder
from tests.support.reviews import LICENCE, PERSONAL, write_contributors

ITEMS = 700

COLLECT = """
import sys, trio
from pathlib import Path
from node.collect import Collector
from node.journal import open_journal
from node.observe.events import EventBus
from node.refine import Refiner
from node.shard import open_shard
from tests.support.embedder import HashEmbedder

async def main(folder, source):
    embedder = HashEmbedder()
    async with (
        open_journal(folder / "journal.db") as journal,
        open_shard(folder / "shard", embedder.model_id, embedder.dim) as shard,
    ):
        collector = Collector(journal, shard, Refiner(shard, embedder), EventBus(), lambda: 1)
        print("ready", flush=True)
        report = await collector.add(
            source, domain="fashion", licence="CC0-1.0", progress=lambda done=None, *_rest: print(done, flush=True)
        )
        print("done", report.items, flush=True)

trio.run(main, Path(sys.argv[1]), sys.argv[2])
"""


async def test_contributors_reviews_are_refined_as_they_were_planted(tmp_path: Path) -> None:
    parts = write_contributors(tmp_path / "in", {"alice": ["Dresses"], "bob": ["Knits", "Sweaters"]}, per_part=200)
    embedder = HashEmbedder()
    async with (
        open_journal(tmp_path / "journal.db") as journal,
        open_shard(tmp_path / "shard", embedder.model_id, embedder.dim) as shard,
    ):
        collector = Collector(journal, shard, Refiner(shard, embedder), EventBus(), lambda: 1)
        for part in parts.values():
            report = await collector.add(str(part.path), domain="fashion", licence=LICENCE)
            assert report.items == part.items
            assert report.duplicates == part.duplicates
            assert report.near_duplicates == part.near_duplicates
            assert report.records == 200
            assert sum(report.redactions.values()) >= part.personal
            assert set(report.redactions) == {"email", "phone", "iban", "card"}
            assert report.languages["en"] > 195
        text = " ".join(record.text for record in await shard.list(limit=1_000))
    for secret in ("jane.doe", "7946 0958", "3704 0044", "4111 1111"):
        assert any(secret in sentence for sentence in PERSONAL)
        assert secret not in text


def test_the_same_seed_writes_the_same_files(tmp_path: Path) -> None:
    one, two = (write_contributors(tmp_path / name, {"a": ["Jeans"]}, 50, seed=3)["a"] for name in "xy")
    assert one.path.read_bytes() == two.path.read_bytes()
    with pytest.raises(ValueError, match="of Chemises, not 50"):
        write_contributors(tmp_path, {"a": ["Chemises"]}, 50)


async def test_kill_9_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source.jsonl"
    parts = write_contributors(tmp_path / "in", {"a": ["Dresses"]}, ITEMS)
    source.write_bytes(parts["a"].path.read_bytes())
    command = [sys.executable, "-c", COLLECT, str(tmp_path), str(source)]
    for steps in (2, 3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(steps):
            assert process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait(timeout=20)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == f"done {parts['a'].items}"

    embedder = HashEmbedder()
    async with (
        open_journal(tmp_path / "journal.db") as journal,
        open_shard(tmp_path / "shard", embedder.model_id, embedder.dim) as shard,
    ):
        records = await shard.count()
        (row,) = await Collector(journal, shard, Refiner(shard, embedder), EventBus(), lambda: 1).sources()
        async with open_shard(tmp_path / "undisturbed", embedder.model_id, embedder.dim) as other:
            collector = Collector(journal, other, Refiner(other, embedder), EventBus(), lambda: 1)
            copy = tmp_path / "copy.jsonl"
            copy.write_bytes(source.read_bytes())
            undisturbed = await collector.add(str(copy), domain="fashion", licence="CC0-1.0")
            assert {r.id for r in await shard.list(limit=1_000)} == {r.id for r in await other.list(limit=1_000)}
    assert records == undisturbed.records == row.records
    assert row.near_duplicates == undisturbed.near_duplicates
    # a line that stands twice is only told from an old one within a run
    assert 0 <= parts["a"].items - row.items <= parts["a"].duplicates
