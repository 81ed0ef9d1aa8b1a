"""The pipeline from raw items to scored records: pure steps in a worker thread, then one embedding of the survivors.

    refiner = Refiner(shard, embedder)
    batch = await refiner.refine(items, facts)
    await shard.put(batch.records)
    await refiner.keep(batch)

The same items, shard and embedder give the same records. A batch changes nothing until `keep`: a caller that dies
between the two finds everything as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import trio
from numpy.typing import NDArray

from node.embed import Embedder
from node.refine.duplicates import DuplicateIndex
from node.refine.errors import WrongFacts
from node.refine.item import RawItem
from node.refine.quality import SCORE_VERSION, joined, measure_scale, novelty, relevance, score_text
from node.refine.rules import Rules
from node.refine.sift import REASONS, Draft, sift
from node.shard import Filter, Shard, ShardRecord

Vectors = NDArray[np.float32]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every item of a batch: rights and provenance. `consent` is the hex SHA-256 of the statement."""

    domain: str
    licence: str
    consent: str
    subject: str = ""
    source: str = ""


class Batch(msgspec.Struct, frozen=True):
    """What became of the items: each is a record, a duplicate, a near duplicate, or rejected for a reason.

    `places` says which item each record was.
    """

    records: list[ShardRecord]
    places: list[int]
    duplicates: int
    near_duplicates: int
    rejected: dict[str, int]
    redactions: dict[str, int]
    languages: dict[str, int]


class Refiner:
    """Refines for one shard with one embedder; batches go one after the other."""

    def __init__(self, shard: Shard, embedder: Embedder, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._shard = shard
        self._embedder = embedder
        self._index = DuplicateIndex()
        self._index_of = -1  # the shard's `changes` when the index was right
        self._turn = trio.Lock()

    async def refine(self, items: Sequence[RawItem], facts: Facts, wants: Vectors | None = None) -> Batch:
        """Records ready for the shard, and a count of what was left out. `wants` are vectors of known demands."""
        if not facts.licence or not facts.consent:
            raise WrongFacts("every record needs a licence and a consent: name both for the source")
        async with self._turn:
            index = await self._known()
            sifted = await trio.to_thread.run_sync(sift, items, index, self._rules)
            vectors = await self._embedder.embed([draft.whole for draft in sifted.drafts])
            _ids, known = await self._shard.matrix(Filter(domain=facts.domain))
            asked = np.empty((0, self._embedder.dim), np.float32) if wants is None else wants
            finish = _Finish(facts, self._embedder.model_id, known, asked)
            records = await trio.to_thread.run_sync(finish, sifted.drafts, vectors)
        return Batch(
            records=records,
            places=sifted.places,
            duplicates=sifted.left_out["duplicate"],
            near_duplicates=sifted.left_out["near duplicate"],
            rejected={reason: sifted.left_out[reason] for reason in REASONS if sifted.left_out[reason]},
            redactions=_sum(draft.redactions for draft in sifted.drafts),
            languages=dict(Counter(draft.language for draft in sifted.drafts)),
        )

    async def keep(self, batch: Batch) -> None:
        """Remember the records as present, once they are in the shard."""
        async with self._turn:
            if batch.records and self._shard.changes == self._index_of + 1:
                for record in batch.records:
                    self._note(record.id, record.title, record.text)
                self._index_of += 1

    async def _known(self) -> DuplicateIndex:
        """The index of what the shard holds; built again when others wrote: purchases, labels, erasures."""
        while self._index_of != self._shard.changes:
            at = self._shard.changes
            self._index = DuplicateIndex()
            await self._shard.scan(("id", "title", "text"), self._note)
            self._index_of = at
        return self._index

    def _note(self, id: str, title: str, text: str) -> None:
        self._index.add(id, joined(title, text))


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


class _Finish:
    """Turns drafts and their vectors into records, scored beside what the shard holds in the domain."""

    def __init__(self, facts: Facts, model_id: str, known: Vectors, wants: Vectors) -> None:
        self._facts = facts
        self._model_id = model_id
        self._known = known
        self._wants = wants

    def __call__(self, drafts: Sequence[Draft], vectors: Vectors) -> list[ShardRecord]:
        if not drafts:
            return []
        scale = measure_scale(np.concatenate([self._known, vectors]))
        novelties = novelty(nearest(vectors, self._known), scale)
        relevances = relevance(vectors, self._wants, scale)
        rows = zip(drafts, vectors, novelties, relevances, strict=True)
        return [self._record(*row) for row in rows]

    def _record(self, draft: Draft, vector: Vectors, novelty_ppm: int, relevance_ppm: int) -> ShardRecord:
        alone = score_text(draft.whole, draft.language)
        quality = msgspec.structs.replace(
            alone, uniqueness=draft.uniqueness, novelty=novelty_ppm, relevance=relevance_ppm
        )
        return ShardRecord(
            id=draft.id,
            text=draft.text,
            title=draft.title,
            language=draft.language,
            labels=draft.labels,
            created_at=draft.created_at,
            quality=quality,
            score_version=SCORE_VERSION,
            vector=vector,
            model_id=self._model_id,
            **msgspec.structs.asdict(self._facts),
        )


BLOCK = 256  # rows of a similarity matrix held at once


def nearest(vectors: Vectors, known: Vectors) -> Vectors:
    """The greatest cosine of each vector to any other: among `known`, and among its fellows in the batch."""
    best = np.full(len(vectors), -1.0, np.float32)
    for start in range(0, len(vectors), BLOCK):
        rows = vectors[start : start + BLOCK]
        among = rows @ vectors.T
        among[np.arange(len(rows)), np.arange(start, start + len(rows))] = -1.0  # a text is not its own neighbour
        best[start : start + BLOCK] = among.max(axis=1)
        if len(known):
            np.maximum(best[start : start + BLOCK], (rows @ known.T).max(axis=1), out=best[start : start + BLOCK])
    return best
