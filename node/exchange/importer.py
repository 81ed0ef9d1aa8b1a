"""Bought records into the shard, with where they came from: seller, dataset, deal, licence.

They are embedded again here (vectors are not part of what is sold) and scored for what their text says by itself.
Records this node owns already keep their own provenance.
"""

from __future__ import annotations

from collections.abc import Sequence

from node.embed import Embedder
from node.market.catalog.catalog import Listed
from node.refine import SCORE_VERSION, score_record
from node.refine.quality import joined
from node.shard import Shard, ShardRecord
from protocols.offers.offer import Offer
from protocols.sealed import Record, record_id

BATCH = 256  # records between two writes: a crash repeats at most this much embedding


class ShardImporter:
    """Puts the records of a purchase into the shard; repeating it changes nothing."""

    def __init__(self, shard: Shard, embedder: Embedder) -> None:
        self._shard = shard
        self._embedder = embedder

    async def __call__(self, records: Sequence[Record], offer: Listed[Offer], deal: str) -> int:
        """How many distinct records of the purchase are in the shard now."""
        # the content names a record, whatever its seller wrote: a false id could replace a record of ours
        distinct = {record_id(record.title, record.text): record for record in records}
        held = {record.id for record in await self._shard.fetch(list(distinct))}
        missing = [(id, record) for id, record in distinct.items() if id not in held]
        for start in range(0, len(missing), BATCH):
            await self._put(missing[start : start + BATCH], offer, deal)
        return len(distinct)

    async def _put(self, batch: Sequence[tuple[str, Record]], offer: Listed[Offer], deal: str) -> None:
        vectors = await self._embedder.embed([joined(record.title, record.text) for _, record in batch])
        rows = [
            ShardRecord(
                id=id,
                text=record.text,
                title=record.title,
                domain=offer.body.domain,
                language=record.language,
                labels=record.labels,
                licence=offer.body.licence,
                consent="",  # the seller's to keep; his commitment stands on chain with the dataset
                source=f"offer:{offer.item.id}",
                origin="bought",
                owner=offer.item.signer,
                dataset=offer.body.dataset,
                deal=deal,
                quality=score_record(record),
                score_version=SCORE_VERSION,
                vector=vector,
                model_id=self._embedder.model_id,
                created_at=record.created_at,
            )
            for (id, record), vector in zip(batch, vectors, strict=True)
        ]
        await self._shard.put(rows)
