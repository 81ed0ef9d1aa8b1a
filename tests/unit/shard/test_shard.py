from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from node.shard import Filter, Shard, open_shard
from node.shard.errors import BadRecord, ShardBroken, WrongModel
from node.shard.filter import literal
from tests.support.records import clustered, shard_record, texts_of, unit


@pytest.fixture
async def shard(tmp_path: Path) -> AsyncIterator[Shard]:
    async with open_shard(tmp_path / "shard", "test", 8) as shard:
        yield shard


async def test_a_record_comes_back_as_it_was_put(shard: Shard) -> None:
    record = shard_record(
        "Schön wär’s 漂亮", unit(1, 2), title="Ein Titel", labels={"class": "Dresses", "o'k": '"quoted"'},
        subject="s-1", source="src", origin="bought", owner="0xabc", dataset=1 << 40, deal="d1", score_version=3,
    )  # fmt: skip
    assert await shard.put([record]) == 1
    found = await shard.get(record.id)
    assert found is not None
    for name in record.__struct_fields__:
        if name == "vector":
            np.testing.assert_array_equal(found.vector, record.vector)
        else:
            assert getattr(found, name) == getattr(record, name), name


async def test_put_again_replaces_and_does_not_double(shard: Shard) -> None:
    old = shard_record("one text", unit(1))
    new = msgspec.structs.replace(old, labels={"seen": "yes"})
    assert await shard.put([old]) == 1
    assert await shard.put([new, new]) == 0
    assert await shard.count() == 1
    found = await shard.get(old.id)
    assert found is not None
    assert found.labels == {"seen": "yes"}


async def test_search_gives_the_nearest_first_with_their_cosine(shard: Shard) -> None:
    await shard.put(
        [shard_record(name, unit(*to)) for name, to in (("east", (1, 0)), ("north", (0, 1)), ("ne", (1, 1)))]
    )
    hits = await shard.search(unit(1, 0.1), limit=2)
    assert texts_of(hits) == ["east", "ne"]
    assert hits[0].score == pytest.approx(float(unit(1, 0) @ unit(1, 0.1)), abs=1e-5)


async def test_search_applies_the_filter_before_the_limit(shard: Shard) -> None:
    near = [shard_record(f"near {i}", unit(1, i / 100), domain="fashion") for i in range(20)]
    far = shard_record("far", unit(0, 1), domain="travel", origin="bought", owner="0xb", dataset=7)
    await shard.put([*near, far])
    assert texts_of(await shard.search(unit(1), limit=5, domain="travel")) == ["far"]
    assert texts_of(await shard.search(unit(1), limit=5, where=Filter(owner="0xb", dataset=7))) == ["far"]
    assert await shard.search(unit(1), limit=5, where=Filter(origin="bought", domain="fashion")) == []
    assert await shard.count(Filter(min_quality=10)) == 21


HOSTILE = ["' OR 1=1 --", "x'; DROP TABLE records; --", '"', "\\' OR ''='", "%", "üñí'", "a\x00b", "''", "\n"]


@pytest.mark.parametrize("text", HOSTILE)
async def test_a_hostile_filter_finds_only_what_equals_it(shard: Shard, text: str) -> None:
    mine = shard_record("mine", unit(1), subject=text)
    other = shard_record("other", unit(1), subject="nobody")
    await shard.put([mine, other])
    assert [r.text for r in await shard.list(Filter(subject=text))] == ["mine"]
    assert await shard.forget([text]) == 0
    assert await shard.count() == 2


@given(st.text())
def test_a_quoted_text_ends_where_it_should(text: str) -> None:
    inner = literal(text)[1:-1]
    assert inner.replace("''", "") == text.replace("'", "")
    assert inner.count("'") == 2 * text.count("'")


async def test_pages_cover_everything_once(shard: Shard) -> None:
    records = [shard_record(f"text {i}", unit(1, i)) for i in range(25)]
    await shard.put(records)
    seen: list[str] = []
    while page := await shard.list(limit=10, after=seen[-1] if seen else ""):
        seen += [record.id for record in page]
    assert seen == sorted(record.id for record in records)


async def test_matrix_rows_belong_to_their_ids(shard: Shard) -> None:
    records = [shard_record(f"text {i}", unit(1, i), domain="a" if i % 2 else "b") for i in range(10)]
    await shard.put(records)
    ids, matrix = await shard.matrix(Filter(domain="a"))
    assert matrix.shape == (5, 8)
    by_id = {record.id: record.vector for record in records}
    for id, row in zip(ids, matrix, strict=True):
        np.testing.assert_array_equal(row, by_id[id])
    assert (await shard.matrix(Filter(domain="none")))[1].shape == (0, 8)


async def test_stats_count_by_kind_and_follow_writes(shard: Shard) -> None:
    assert (await shard.stats()).records == 0
    await shard.put([shard_record("a", unit(1), language="de"), shard_record("b", unit(1), origin="bought")])
    stats = await shard.stats()
    assert (stats.records, stats.languages, stats.origins) == (2, {"de": 1, "en": 1}, {"own": 1, "bought": 1})


async def test_a_forgotten_text_is_no_longer_on_the_disk(shard: Shard, tmp_path: Path) -> None:
    secret = shard_record("a-very-secret-sentence", unit(1))
    await shard.put([secret, shard_record("something else", unit(0, 1))])
    assert await shard.forget([secret.id, "0" * 64]) == 1
    assert await shard.get(secret.id) is None
    left = b"".join(path.read_bytes() for path in (tmp_path / "shard").rglob("*") if path.is_file())
    assert b"very-secret" not in left
    assert b"something else" in left


async def test_changes_grow_with_writes_alone(shard: Shard) -> None:
    record = shard_record("one", unit(1))
    steps = []
    for write in (
        shard.put([]),
        shard.put([record]),
        shard.put([record]),
        shard.forget(["x"]),
        shard.forget([record.id]),
    ):
        await write
        steps.append(shard.changes)
    await shard.search(unit(1))
    assert [*steps, shard.changes] == [0, 1, 2, 2, 3, 3]


async def test_a_shard_of_another_model_is_refused(tmp_path: Path) -> None:
    async with open_shard(tmp_path, "test", 8) as shard:
        await shard.put([shard_record("kept", unit(1))])
    with pytest.raises(WrongModel, match=r"made with embedder test \(8 dimensions\).*now has other"):
        async with open_shard(tmp_path, "other", 8):
            pass
    with pytest.raises(WrongModel):
        async with open_shard(tmp_path, "test", 16):
            pass
    async with open_shard(tmp_path, "test", 8) as again:
        assert await again.count() == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model_id": "other"}, WrongModel),
        ({"vector": unit(1, dim=9)}, BadRecord),
        ({"vector": unit(1) * 2}, BadRecord),
        ({"vector": unit(1) * np.float32("nan")}, BadRecord),
        ({"text": "lone \ud800 surrogate"}, BadRecord),
    ],
)
async def test_a_record_that_does_not_fit_is_refused_whole(
    shard: Shard, change: dict[str, object], error: type[Exception]
) -> None:
    bad = msgspec.structs.replace(shard_record("bad", unit(1)), **change)
    with pytest.raises(error):
        await shard.put([shard_record("good", unit(1)), bad])
    assert await shard.count() == 0


async def test_a_query_of_another_dimension_is_refused(shard: Shard) -> None:
    with pytest.raises(BadRecord, match="8 dimensions"):
        await shard.search(unit(1, dim=9))


async def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "shard").write_text("in the way")
    with pytest.raises(ShardBroken, match="shard"):
        async with open_shard(tmp_path / "shard", "test", 8):
            pass


async def test_readers_work_beside_the_writer(shard: Shard) -> None:
    async def write() -> None:
        for i in range(20):
            await shard.put([shard_record(f"{i}/{j}", unit(i + 1, j)) for j in range(5)])

    async def read() -> None:
        for _ in range(20):
            assert len(await shard.search(unit(1), limit=200)) % 5 == 0  # a batch is seen whole or not at all

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            nursery.start_soon(read)
            nursery.start_soon(read)
    assert await shard.count() == 100


async def test_many_small_writes_do_not_leave_many_files(shard: Shard, tmp_path: Path) -> None:
    for i in range(70):
        await shard.put([shard_record(f"{i}", unit(1, i))])
    assert len(list((tmp_path / "shard").rglob("*.lance"))) > 3  # the pattern finds data files at all
    assert (await shard.stats()).records == 70
    assert shard._table._table.stats()["fragment_stats"]["num_fragments"] < 40


async def test_above_the_threshold_the_index_answers_and_finds_new_rows(tmp_path: Path) -> None:
    vectors = clustered(6_000, 384, 60)
    async with open_shard(tmp_path, "test", 384) as shard:
        for start in range(0, 6_000, 2_000):
            await shard.put([shard_record(f"{i}", vectors[i]) for i in range(start, start + 2_000)])
        assert {index.index_type for index in shard._table._table.list_indices()} == {"IvfRq", "BTree"}
        hits = 0
        for i in range(0, 1_000, 20):
            truth = set(np.argsort(-(vectors @ vectors[i]))[:10].tolist())
            hits += len(truth & {int(text) for text in texts_of(await shard.search(vectors[i], limit=10))})
        print("RECALL", hits / 500)
        print("RECALL", hits / 500)
        assert hits / 500 > 0.8
        scanned: list[str] = []
        await shard.scan(["text"], scanned.append)
        assert sorted(map(int, scanned)) == list(range(6_000))
        new = shard_record("new", unit(1, dim=384))
        await shard.put([new])
        assert texts_of(await shard.search(unit(1, dim=384), limit=1)) == ["new"]
