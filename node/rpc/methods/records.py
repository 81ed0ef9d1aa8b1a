"""records: what the vector shard holds, own and bought."""

from __future__ import annotations

import msgspec

from node.embed import Embedder
from node.market.erasure import Erasure
from node.market.proof import Proof
from node.rpc.errors import Invalid, NotFound
from node.rpc.method import Method
from node.rpc.values import Domain, Limit, Name, Result, Text, items, page, shown
from node.shard import Shard
from node.shard.filter import Filter
from node.shard.record import ShardRecord

IDS_ANSWERED, IDS_LISTED = 1_000, 10


def methods(shard: Shard, embedder: Embedder, erasure: Erasure) -> list[Method]:
    """Search, get, list, label, forget, erasures, stats."""

    async def search(query: Text, domain: Domain | None = None, limit: Limit = 10) -> Result:
        """The records of this node that are nearest in meaning."""
        (vector,) = await embedder.embed([query], query=True)
        hits = await shard.search(vector, limit=limit, domain=domain)
        return items([{**shown(hit.record), "score": round(hit.score, 6)} for hit in hits])

    async def get(id: Name) -> Result:
        """One record, whole."""
        return dict(shown(await _one(shard, id)))

    async def listed(
        domain: Domain | None = None,
        origin: Name | None = None,
        language: Name | None = None,
        limit: Limit = 100,
        after: Name | None = None,
    ) -> Result:
        """Records in the order of their ids; `origin` is own or bought."""
        where = Filter(domain=domain, origin=origin, language=language)
        return page(await shard.list(where, limit=limit + 1, after=after or ""), limit, "id")

    async def label(id: Name, label: Name) -> Result:
        """Label a record, `name=value`; a bare value sets the label named `label`."""
        name, _, value = label.rpartition("=")
        async with erasure.undisturbed():  # a record that is forgotten in between must not be written back
            record = await _one(shard, id)
            labels = {**record.labels, name or "label": value}
            await shard.put([msgspec.structs.replace(record, labels=labels)])
        return {"id": id, "labels": labels}

    async def forget(id: Name | None = None, subject: Name | None = None) -> Result:
        """Erase a record, or everything about a subject, for good.

        The bytes leave the disk, every own offer that holds them loses its key and is withdrawn, its dataset is
        revoked on chain. The answer is the proof; `waiting` says what still waits for the wallet, `remains` what
        nobody can undo.
        """
        if (id is None) == (subject is None):
            raise Invalid("say what to forget: either id or subject")
        return _told(await erasure.forget(id=id or "", subject=subject or ""), IDS_ANSWERED)

    async def erasures(limit: Limit = 100) -> Result:
        """What was erased, newest first, and how far it is; a few ids each."""
        return items([_told(proof, IDS_LISTED) for proof in await erasure.newest(limit)])

    async def stats() -> Result:
        """How many records there are, by domain, language, origin and licence."""
        return dict(shown(await shard.stats()))

    return [
        Method("records.search", search),
        Method("records.get", get),
        Method("records.list", listed),
        Method("records.label", label),
        Method("records.forget", forget, deadline_s=300),
        Method("records.erasures", erasures),
        Method("records.stats", stats),
    ]


def _told(proof: Proof, most: int) -> Result:
    """A proof with at most so many of its record ids: an answer is one line of bounded length."""
    return {**shown(proof), "records": proof.records[:most]}


async def _one(shard: Shard, id: str) -> ShardRecord:
    record = await shard.get(id)
    if record is None:
        raise NotFound(f"there is no record {id}")
    return record
