from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from node.collect import Collector, Limits
from node.collect.collector import BATCH
from node.collect.errors import CollectError, NothingToCollect, SourceMissing, WrongEntry, WrongRights
from node.collect.tally import CollectReport
from node.journal import Journal, open_journal
from node.journal.sources import Sources
from node.observe.events import EventBus
from node.refine import Refiner
from node.shard import Filter, Shard, ShardRecord, open_shard
from protocols.errors import BadIdentifier
from tests.support.embedder import HashEmbedder

RIGHTS = {"domain": "fashion", "licence": "cc0-1.0"}
NOUNS = ("dress", "coat", "scarf", "skirt", "shirt", "jacket", "sweater", "blouse", "belt", "shoe", "boot", "hat")
VERBS = ("fits", "warms", "suits", "pleases", "flatters", "itches", "shrinks", "fades", "stretches", "tears")


def sentence(number: int) -> str:
    """Texts that share few words: anything more alike would be a near duplicate."""
    words = hashlib.sha256(str(number).encode()).hexdigest()
    marks = " ".join(words[i : i + 5] for i in range(0, 60, 5))
    noun, verb = NOUNS[number % len(NOUNS)], VERBS[number % len(VERBS)]
    return f"My {noun} number {number} {verb} me: {marks} is what the label says."


class Home:
    """A node's folder with its journal and shard, and a collector over them."""

    def __init__(self, journal: Journal, shard: Shard) -> None:
        self.journal = journal
        self.shard = shard
        self.embedder = HashEmbedder()
        self.events = EventBus()
        self.collector = self.new_collector(shard)

    def new_collector(self, shard: Shard, **options: Any) -> Collector:
        refiner = Refiner(self.shard, self.embedder)
        return Collector(self.journal, shard, refiner, self.events, lambda: 1_700_000_000, owner="0xA", **options)


@asynccontextmanager
async def home(folder: Path) -> AsyncIterator[Home]:
    embedder = HashEmbedder()
    async with (
        open_journal(folder / "journal.db") as journal,
        open_shard(folder / "shard", embedder.model_id, embedder.dim) as shard,
    ):
        yield Home(journal, shard)


@pytest.fixture
async def alice(tmp_path: Path) -> AsyncIterator[Home]:
    async with home(tmp_path) as opened:
        yield opened


def lines(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "class": "x"}) + "\n" for text in texts))
    return path


async def texts_in(shard: Shard) -> list[str]:
    return [record.text for record in await shard.list(limit=1_000)]


async def test_a_file_becomes_records_with_all_their_facts(alice: Home, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [sentence(1), sentence(2) + " Mail j@b.example."])
    report = await alice.collector.add(str(path), **RIGHTS, consent="I agree", subject="shop")
    assert report == CollectReport(
        source=report.source, items=2, records=2, redactions={"email": 1}, languages={"en": 2}, files=1
    )
    for record in await alice.shard.list():
        assert (record.licence, record.subject, record.source) == ("CC0-1.0", "shop", report.source)
        assert record.labels == {"class": "x"}
        consent = await Sources(alice.journal).consent(record.consent)
        assert consent is not None
        assert (consent.statement, consent.giver, consent.given_at) == ("I agree", "0xA", 1_700_000_000)
        document = msgspec.json.encode([consent.statement, consent.giver, consent.given_at])
        assert hashlib.sha256(document).hexdigest() == record.consent


async def test_adding_again_adds_nothing_and_embeds_nothing(alice: Home, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [sentence(i) for i in range(BATCH + 20)] + [sentence(0)])
    first = await alice.collector.add(str(path), **RIGHTS)
    assert (first.records, first.duplicates, first.known) == (BATCH + 20, 1, 0)
    embedded = alice.embedder.embedded
    again = await alice.collector.add(str(path), **RIGHTS)
    assert (again.items, again.known, again.records) == (BATCH + 21, BATCH + 21, 0)
    assert alice.embedder.embedded == embedded
    (source,) = await alice.collector.sources()
    assert (source.items, source.records, source.duplicates, source.runs) == (BATCH + 21, BATCH + 20, 1, 2)


async def test_a_file_that_grew_gives_its_new_lines(alice: Home, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [sentence(1)])
    await alice.collector.add(str(path), **RIGHTS)
    lines(path, [sentence(2), sentence(1)])
    report = await alice.collector.add(str(path), **RIGHTS)
    assert (report.known, report.records, report.duplicates) == (1, 1, 0)


async def test_every_item_is_accounted_for(alice: Home, tmp_path: Path) -> None:
    texts = [sentence(1), sentence(1), sentence(2), "", "tiny"]
    path = lines(tmp_path / "a.jsonl", texts)
    with path.open("a") as file:
        file.write("{broken\n")
    report = await alice.collector.add(str(path), **RIGHTS)
    assert report.rejected == {"empty": 1, "too short": 1, "malformed": 1}
    assert report.items == 6 == report.records + report.duplicates + sum(report.rejected.values())


class Crash(Exception):
    """Stands for the process's end at a chosen step."""


class CrashingShard:
    """A shard whose next `put` is the last thing its process does, before or after it took effect."""

    def __init__(self, shard: Shard, *, after: bool) -> None:
        self._shard = shard
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shard, name)

    async def put(self, records: Sequence[ShardRecord]) -> int:
        if self._after:
            await self._shard.put(records)
        raise Crash


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_around_the_store_loses_and_doubles_nothing(alice: Home, tmp_path: Path, after: bool) -> None:
    path = lines(tmp_path / "a.jsonl", [sentence(i) for i in range(5)])
    doomed: Any = CrashingShard(alice.shard, after=after)
    with pytest.raises(Crash):
        await alice.new_collector(doomed).add(str(path), **RIGHTS)
    assert await alice.shard.count() == (5 if after else 0)
    report = await alice.new_collector(alice.shard).add(str(path), **RIGHTS)
    assert (report.known, report.records, report.duplicates) == ((5, 0, 0) if after else (0, 5, 0))
    assert await alice.shard.count() == 5
    (source,) = await alice.collector.sources()
    assert (source.items, source.records, source.duplicates) == (5, 5, 0)


async def test_a_folder_is_collected_around_its_bad_files(alice: Home, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    lines(folder / "a.jsonl", [sentence(1)])
    (folder / "b.csv").write_bytes(b"text\nsch\xf6n\n")
    (folder / "c.txt").write_text(sentence(2))
    report = await alice.collector.add(str(folder), **RIGHTS)
    assert (report.records, report.files) == (2, 3)
    (reason,) = report.unreadable
    assert "b.csv is not UTF-8" in reason


@pytest.mark.parametrize(
    ("source", "rights", "error", "says"),
    [
        ("none.txt", {}, SourceMissing, "check the path"),
        ("a.jsonl", {"licence": "my own"}, WrongRights, "SPDX id such as CC0-1.0"),
        ("a.jsonl", {"licence": "schwung-use-1"}, WrongRights, "say under which consent"),
        ("a.jsonl", {"consent": "x" * 20_001}, WrongRights, "the limit is 20000"),
        ("a.jsonl", {"domain": "No Domain"}, BadIdentifier, "a-z"),
        ("empty.txt", {}, NothingToCollect, "holds no item"),
        ("empty.csv", {}, NothingToCollect, "holds no item"),
        ("head.csv", {}, NothingToCollect, "holds no item"),
    ],
)
async def test_what_cannot_be_collected_says_why_and_leaves_no_trace_in_the_shard(
    alice: Home, tmp_path: Path, source: str, rights: dict[str, str], error: type[Exception], says: str
) -> None:
    lines(tmp_path / "a.jsonl", [sentence(1)])
    (tmp_path / "empty.txt").write_text(" \n\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "head.csv").write_text("title,text\n")
    with pytest.raises(error, match=says):
        await alice.collector.add(str(tmp_path / source), **{**RIGHTS, **rights})
    assert await alice.shard.count() == 0


async def test_a_source_over_the_limit_keeps_what_fits(alice: Home, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [sentence(i) for i in range(BATCH + 1)])
    small = alice.new_collector(alice.shard, limits=Limits(max_items=BATCH))
    with pytest.raises(NothingToCollect, match=f"first {BATCH} are collected"):
        await small.add(str(path), **RIGHTS)
    assert await alice.shard.count() == BATCH


async def test_put_takes_texts_and_objects_once(alice: Home) -> None:
    entries = [sentence(1), {"text": sentence(2), "action": "click"}]
    assert (await alice.collector.put(entries, **RIGHTS)).records == 2
    assert (await alice.collector.put(entries, **RIGHTS)).known == 2
    assert {record.labels.get("action", "") for record in await alice.shard.list()} == {"", "click"}


@pytest.mark.parametrize("entry", [7, ["x"], {"n": 1}, None])
async def test_put_refuses_a_batch_with_an_entry_that_is_no_text(alice: Home, entry: object) -> None:
    with pytest.raises(WrongEntry, match=r"items\[1\]"):
        await alice.collector.put([sentence(1), entry], **RIGHTS)
    assert await alice.shard.count() == 0


async def test_remove_forgets_the_source_and_keeps_the_records(alice: Home, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [sentence(1)])
    report = await alice.collector.add(str(path), **RIGHTS)
    assert await alice.collector.remove(str(path)) == 1
    assert await alice.collector.remove(report.source) == 0
    assert await alice.collector.sources() == []
    assert await alice.shard.count() == 1
    again = await alice.collector.add(str(path), **RIGHTS)
    assert (again.records, again.duplicates) == (0, 1)


async def test_an_erased_record_does_not_come_back_with_its_file(alice: Home, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [sentence(1), sentence(2)])
    await alice.collector.add(str(path), **RIGHTS)
    (erased, _kept) = await alice.shard.list()
    await alice.shard.forget([erased.id])
    await alice.collector.add(str(path), **RIGHTS)
    assert erased.text not in await texts_in(alice.shard)


async def test_two_sources_at_once_do_not_store_one_text_twice(alice: Home, tmp_path: Path) -> None:
    texts = [sentence(i) for i in range(40)]
    one, two = lines(tmp_path / "1.jsonl", texts), lines(tmp_path / "2.jsonl", [text + " Yes." for text in texts])
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for path in (one, two):
                nursery.start_soon(lambda path=path: alice.collector.add(str(path), **RIGHTS))
    assert await alice.shard.count() == 40


async def test_progress_and_events_are_told(alice: Home, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [sentence(i) for i in range(BATCH + 1)])
    told: list[int | None] = []
    with alice.events.subscribe({"collect"}) as events:
        await alice.collector.add(str(path), **RIGHTS, progress=lambda done=None, *_rest: told.append(done))
        event = await anext(aiter(events))
    assert told == [0, BATCH, BATCH + 1]
    assert event.data["records"] == BATCH + 1


async def test_wanted_records_are_more_relevant(alice: Home, tmp_path: Path) -> None:
    (want,) = await alice.embedder.embed([sentence(7)])

    async def wants(domain: str) -> Any:
        assert domain == "fashion"
        return want[None]

    path = lines(tmp_path / "a.jsonl", [sentence(i) for i in range(80)])
    await alice.new_collector(alice.shard, wants=wants).add(str(path), **RIGHTS)
    ranked = sorted(await alice.shard.list(Filter(), limit=100), key=lambda record: -record.quality.relevance)
    assert ranked[0].text == sentence(7)
    assert ranked[0].quality.relevance > ranked[40].quality.relevance


def test_errors_have_a_kind_and_a_hint() -> None:
    pending = [CollectError]
    while pending:
        error = pending.pop()
        pending += error.__subclasses__()
        assert error.kind
        assert error.hint
