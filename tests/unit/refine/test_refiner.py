from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.refine import Facts, RawItem, Refiner
from node.refine.duplicates import FOUND, DuplicateIndex
from node.refine.errors import WrongFacts
from node.refine.refiner import nearest
from node.shard import Shard, open_shard
from protocols.codec import decode, encode
from protocols.sealed.records import MAX_TEXT_CHARS, Record, record_id
from tests.support.embedder import HashEmbedder
from tests.support.records import clustered

FACTS = Facts(domain="fashion", licence="CC0-1.0", consent="c" * 64, subject="s", source="src")
DRESS = "A lovely summer dress with a soft lining that fits true to size and did not shrink after three washes at home."
COAT = "This heavy winter coat is warm but the zipper broke within a week, so I sent it back and asked for my money."
ZH = "这条裙子非常漂亮，面料柔软舒适，尺码标准，洗了三次也没有缩水，朋友们都说很好看，我还会再买一条送给妈妈。"


@pytest.fixture
async def shard(tmp_path: Path) -> AsyncIterator[Shard]:
    embedder = HashEmbedder()
    async with open_shard(tmp_path, embedder.model_id, embedder.dim) as shard:
        yield shard


@pytest.fixture
def refiner(shard: Shard) -> Refiner:
    return Refiner(shard, HashEmbedder())


async def test_an_item_becomes_a_complete_record(refiner: Refiner) -> None:
    item = RawItem(f" {DRESS}  Mail me: jane@b.example ", title="Love\nit", labels={"Class": "Dresses"}, created_at=7)
    batch = await refiner.refine([item], FACTS)
    (record,) = batch.records
    assert record.text == f"{DRESS} Mail me: [EMAIL]"
    assert (record.title, record.language, record.created_at) == ("Love it", "en", 7)
    assert record.labels == {"Class": "Dresses"}
    assert (record.licence, record.consent, record.subject, record.source) == ("CC0-1.0", "c" * 64, "s", "src")
    assert record.id == record_id(record.title, record.text)
    assert record.quality.uniqueness == 1_000_000
    assert record.quality.overall > 500_000
    assert batch.redactions == {"email": 1}
    assert batch.languages == {"en": 1}


async def test_every_item_is_accounted_for_once(refiner: Refiner) -> None:
    items = [
        RawItem(DRESS), RawItem(DRESS), RawItem(DRESS + " Recommended."), RawItem(COAT), RawItem(ZH),
        RawItem(ZH + "推荐。"), RawItem("  \x00 "), RawItem("ok"), RawItem("x" * (MAX_TEXT_CHARS + 1)),
        RawItem("1 {} 2 # " * 30),
    ]  # fmt: skip
    batch = await refiner.refine(items, FACTS)
    assert [record.text for record in batch.records] == [DRESS, COAT, ZH]
    assert (batch.duplicates, batch.near_duplicates) == (1, 2)
    assert batch.rejected == {"empty": 1, "too short": 1, "too long": 1, "not a text": 1}


async def test_what_the_shard_holds_is_a_duplicate_after_a_restart(shard: Shard, refiner: Refiner) -> None:
    batch = await refiner.refine([RawItem(DRESS), RawItem(COAT)], FACTS)
    await shard.put(batch.records)
    await refiner.keep(batch)
    for again in (refiner, Refiner(shard, HashEmbedder())):
        second = await again.refine([RawItem(DRESS), RawItem(COAT + " Really.")], FACTS)
        assert (second.records, second.duplicates, second.near_duplicates) == ([], 1, 1)


async def test_a_batch_that_was_not_kept_changes_nothing(refiner: Refiner) -> None:
    first = await refiner.refine([RawItem(DRESS)], FACTS)
    second = await refiner.refine([RawItem(DRESS)], FACTS)
    assert len(first.records) == len(second.records) == 1
    np.testing.assert_array_equal(first.records[0].vector, second.records[0].vector)
    assert first.records[0].quality == second.records[0].quality


async def test_an_erased_text_may_come_again(shard: Shard, refiner: Refiner) -> None:
    batch = await refiner.refine([RawItem(DRESS)], FACTS)
    await shard.put(batch.records)
    await refiner.keep(batch)
    ids = [record.id for record in batch.records]
    await shard.forget(ids)
    assert len((await refiner.refine([RawItem(DRESS)], FACTS)).records) == 1


async def test_what_others_put_into_the_shard_is_a_duplicate_at_once(shard: Shard, refiner: Refiner) -> None:
    # A bought text that is collected again must not become our own: it could be sold on.
    await refiner.refine([RawItem(COAT)], FACTS)
    bought = (await Refiner(shard, HashEmbedder()).refine([RawItem(DRESS)], FACTS)).records[0]
    await shard.put([msgspec.structs.replace(bought, origin="bought")])
    batch = await refiner.refine([RawItem(DRESS), RawItem(DRESS + " Bought.")], FACTS)
    assert (batch.records, batch.duplicates, batch.near_duplicates) == ([], 1, 1)


async def test_the_index_is_not_built_again_after_our_own_batches(shard: Shard, refiner: Refiner) -> None:
    scans = 0
    scan = shard.scan

    async def counted(*arguments: Any) -> None:
        nonlocal scans
        scans += 1
        await scan(*arguments)

    shard.scan = counted  # type: ignore[method-assign]
    for text in (DRESS, COAT, ZH):
        batch = await refiner.refine([RawItem(text)], FACTS)
        await shard.put(batch.records)
        await refiner.keep(batch)
    assert scans == 1


async def test_refused_items_are_not_embedded(shard: Shard) -> None:
    embedder = HashEmbedder()
    await Refiner(shard, embedder).refine([RawItem(DRESS), RawItem(DRESS), RawItem("ok")], FACTS)
    assert embedder.embedded == 1


async def test_columns_that_name_a_person_are_dropped_and_the_rest_redacted(refiner: Refiner) -> None:
    personal = {"Customer Name": "Jane", "E-Mail": "j@b.example"}
    labels = {**personal, "note": "call +49 30 901820", "rating": "5", "": "x", "e": ""}
    batch = await refiner.refine([RawItem(DRESS, labels=labels)], FACTS)
    assert batch.records[0].labels == {"note": "call [PHONE]", "rating": "5"}
    assert batch.redactions == {"phone": 1}


async def test_every_record_can_be_sold_whatever_its_source_held(refiner: Refiner) -> None:
    labels = {f"{'k' * 300}{i}": "v" * 300 for i in range(100)} | {"jane@b.example": "x"}
    item = RawItem(f"{DRESS} {'a@b.co ' * 50}", title="a@b.co " * 600, labels=labels, created_at=-5)
    (record,) = (await refiner.refine([item], FACTS)).records
    sold = Record(
        id=record.id, text=record.text, title=record.title, language=record.language, labels=record.labels,
        created_at=record.created_at,
    )  # fmt: skip
    assert decode(encode(sold), Record, max_bytes=1 << 20) == sold
    assert "jane" not in str(record.labels)


@pytest.mark.parametrize("missing", ["licence", "consent"])
async def test_rights_are_required(refiner: Refiner, missing: str) -> None:
    with pytest.raises(WrongFacts):
        await refiner.refine([RawItem(DRESS)], msgspec.structs.replace(FACTS, **{missing: ""}))


async def test_a_paraphrase_of_what_is_there_is_less_novel(shard: Shard, refiner: Refiner) -> None:
    batch = await refiner.refine([RawItem(COAT)], FACTS)
    await shard.put(batch.records)
    await refiner.keep(batch)
    mixed = "Within a week the zipper of this coat broke; warm, but I sent it back and my money is what I asked for."
    batch = await refiner.refine([RawItem(mixed), RawItem(ZH)], FACTS)
    alike, foreign = (record.quality.novelty for record in batch.records)
    assert alike < foreign


WORDS = st.sampled_from(
    ["red", "blue", "soft", "warm", "dress", "coat", "zip", "lining", "long", "short", "fits", "runs"]
)


@given(st.lists(WORDS, min_size=12, max_size=60))
def test_a_text_is_its_own_nearest_and_a_foreign_one_is_not(words: list[str]) -> None:
    index = DuplicateIndex()
    index.add("other", "quite another sentence about pumps that move twenty litres a minute without a sound")
    index.add("this", " ".join(words))
    assert index.nearest(" ".join(words)) == ("this", 1.0)
    assert index.nearest("nothing of the kind stands here at all today")[1] < FOUND


def test_nearest_leaves_a_row_itself_out() -> None:
    vectors = clustered(600, 32, 7)
    known = clustered(50, 32, 7, seed=1)
    cosines = np.concatenate([vectors @ vectors.T - 3 * np.eye(600), vectors @ known.T], axis=1)
    np.testing.assert_allclose(nearest(vectors, known), cosines.max(axis=1), atol=1e-6)
    assert nearest(vectors[:1], np.empty((0, 32), np.float32)).tolist() == [-1.0]
