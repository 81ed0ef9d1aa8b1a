"""From the shard to a corpus: choose usable records, reuse the vectors that fit, embed what is missing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from node.embed.embedder import Embedder
from node.models.errors import BadCall, TooLittleData
from node.models.examples import Corpus, Example
from node.models.ports import Progress, Records
from node.shard.filter import Filter
from node.shard.record import ShardRecord
from protocols.ids import RecordId

MAX_RECORDS = 20_000  # what the trainers hold in memory: 20,000 × 384 × 4 bytes, twice, and their products
PROBES = 8
EMBED_STEP = 256


async def gather(shard: Records, where: Filter) -> list[ShardRecord]:
    """The records that fit, ordered by id; of more than MAX_RECORDS the same deterministic part every time."""
    found: list[ShardRecord] = []
    async for page in shard.walk(where):
        found += page
        if len(found) > 2 * MAX_RECORDS:
            found = _lowest(found)
    return sorted(_lowest(found), key=lambda record: record.id)


async def retrieval_corpus(records: Sequence[ShardRecord], embedder: Embedder, progress: Progress) -> Corpus:
    """Pairs of title and text. Raises TooLittleData when no record has a title."""
    usable = [record for record in records if record.title.strip() and record.text.strip()]
    if not usable:
        raise TooLittleData(
            f"none of {len(records)} records has a title: retrieval learns from titles and texts",
            hint="train with task=classification, or collect records with titles",
        )
    documents = await _documents(usable, embedder, progress)
    queries = await _embed([record.title for record in usable], embedder, progress, "titles", query=True)
    examples = tuple(_example(record, "") for record in usable)
    return Corpus(examples=examples, documents=documents, queries=queries)


async def label_corpus(
    records: Sequence[ShardRecord], key: str, embedder: Embedder, progress: Progress
) -> tuple[Corpus, dict[str, np.ndarray]]:
    """Labelled texts, and the embeddings of the labels' names. Raises TooLittleData when no record has the label."""
    usable = [record for record in records if record.labels.get(key) and record.text.strip()]
    if not usable:
        raise TooLittleData(f"none of {len(records)} records has a label {key!r}: `schwung records label` sets one")
    documents = await _documents(usable, embedder, progress)
    names = sorted({record.labels[key] for record in usable})
    vectors = await _embed(names, embedder, progress, "class names", query=True)
    corpus = Corpus(examples=tuple(_example(record, record.labels[key]) for record in usable), documents=documents)
    return corpus, dict(zip(names, vectors, strict=True))


def label_key(records: Sequence[ShardRecord], wanted: str) -> str:
    """The label to learn: the wanted one, or the one that most records have; ties go to the first name."""
    counts = Counter(key for record in records for key, value in record.labels.items() if value)
    if wanted:
        return wanted
    if not counts:
        raise TooLittleData("no record has a label: `schwung records label` sets one")
    return min(counts, key=lambda key: (-counts[key], key))


def parse_filter(domain: str, plain: Mapping[str, Any] | None) -> Filter:
    """A caller's filter over the records of a domain. Raises BadCall for a field that does not exist."""
    unknown = set(plain or {}) - set(Filter.__struct_fields__)
    if unknown:
        raise BadCall(
            f"filter field {sorted(unknown)[0]!r} is not known", hint=f"one of {', '.join(Filter.__struct_fields__)}"
        )
    try:
        return msgspec.convert({**(plain or {}), "domain": domain}, Filter)
    except msgspec.ValidationError as err:
        raise BadCall(f"filter: {err}") from err


def _lowest(records: list[ShardRecord]) -> list[ShardRecord]:
    if len(records) <= MAX_RECORDS:
        return records
    return sorted(records, key=lambda record: hashlib.sha256(record.id.encode()).digest())[:MAX_RECORDS]


def _example(record: ShardRecord, label: str) -> Example:
    return Example(
        id=RecordId(record.id),
        title=record.title,
        text=record.text,
        label=label,
        owner=record.owner,
        dataset=record.dataset,
    )


async def _documents(records: Sequence[ShardRecord], embedder: Embedder, progress: Progress) -> np.ndarray:
    """The texts' vectors: the shard's when they are of the text alone, else made anew.

    A vector over title *and* text would let every title find its text by the title itself. A few records are embedded
    both ways to see what the shard's vectors are; the nearer spelling is the one that made them.
    """
    stored = np.stack([record.vector for record in records])
    probes = records[:: max(1, len(records) // PROBES)][:PROBES]
    bare = await embedder.embed([record.text for record in probes])
    titled = await embedder.embed([f"{record.title}\n{record.text}" for record in probes])
    own = np.stack([record.vector for record in probes])
    same_model = all(record.model_id == embedder.model_id for record in records)
    if same_model and (own * bare).sum() >= (own * titled).sum():
        return stored
    return await _embed([record.text for record in records], embedder, progress, "texts", query=False)


async def _embed(texts: Sequence[str], embedder: Embedder, progress: Progress, what: str, *, query: bool) -> np.ndarray:
    parts = []
    for start in range(0, len(texts), EMBED_STEP):
        progress(done=start, total=len(texts), unit=what, note=f"embedding {what}")
        parts.append(await embedder.embed(texts[start : start + EMBED_STEP], query=query))
    return np.vstack(parts)
