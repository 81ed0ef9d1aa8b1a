"""The shard as the node sees it: async, two readers, one writer, every call in a worker thread.

    async with open_shard(path, embedder.model_id, embedder.dim) as shard:
        await shard.put(records)
        hits = await shard.search(vector, limit=10, domain="fashion")

LanceDB's own async API belongs to asyncio; its synchronous one is safe here because the writer is alone and a reader
sees a snapshot. When `put` returns, the rows are on the disk.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from node.shard.filter import EVERYTHING, Filter
from node.shard.record import ShardRecord, Vector
from node.shard.table import Table

T = TypeVar("T")

READERS = 2
PAGE_MOST = 1_000


class Hit(msgspec.Struct, frozen=True, eq=False):
    """A found record and the cosine of its vector with the query's, -1…1."""

    record: ShardRecord
    score: float


class ShardStats(msgspec.Struct, frozen=True):
    """How many records there are, in all and by kind."""

    records: int
    domains: dict[str, int]
    languages: dict[str, int]
    origins: dict[str, int]
    licences: dict[str, int]


# Spelt out here, because inside the class `list` is the method.
Hits = list[Hit]
Records = list[ShardRecord]
Ids = list[str]


@asynccontextmanager
async def open_shard(path: Path, model_id: str, dim: int) -> AsyncIterator[Shard]:
    """The shard in the folder `path`, made when it is new. Raises WrongModel, ShardBroken."""
    table = await trio.to_thread.run_sync(Table, path, model_id, dim)
    yield Shard(table)


class Shard:
    """Records of one embedding model."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.changes = 0  # grows with every write: who keeps something derived sees by it that it is out of date
        self._readers = trio.CapacityLimiter(READERS)
        self._writer = trio.CapacityLimiter(1)

    @property
    def model_id(self) -> str:
        """The embedding model of every vector here."""
        return self._table.model_id

    @property
    def dim(self) -> int:
        """Dimensions of every vector here."""
        return self._table.dim

    async def put(self, records: Sequence[ShardRecord]) -> int:
        """Insert or replace by id, durably. Returns how many ids are new. Raises WrongModel, BadRecord."""
        new = await self._write(lambda: self._table.put(records))
        self.changes += bool(records)
        return new

    async def forget(self, ids: Iterable[str]) -> int:
        """Delete by id, and the bytes leave the disk too. Returns how many were there."""
        wanted = list(ids)
        gone = await self._write(lambda: self._table.forget(wanted))
        self.changes += bool(gone)
        async with AsyncExitStack() as stack:
            for _ in range(READERS):  # a reader of an older version would lose its files under its hands
                await stack.enter_async_context(_seat(self._readers))
            await self._write(self._table.purge)
        return gone

    async def compact(self) -> None:
        """Merge small fragments and fold new rows into the indices."""
        await self._write(self._table.compact)

    async def search(
        self, vector: Vector, *, limit: int = 10, domain: str | None = None, where: Filter = EVERYTHING
    ) -> Hits:
        """The nearest records, best first; `domain` is a shorthand for the filter's."""
        chosen = where if domain is None else msgspec.structs.replace(where, domain=domain)
        found = await self._read(lambda: self._table.search(vector, limit, chosen))
        return [Hit(record, score) for record, score in found]

    async def get(self, id: str) -> ShardRecord | None:
        """One record, None when it is not here."""
        found = await self.fetch([id])
        return found[0] if found else None

    async def fetch(self, ids: Sequence[str]) -> Records:
        """The records of these ids in their order, without the unknown ones."""
        return await self._read(lambda: self._table.fetch(ids))

    async def list(self, where: Filter = EVERYTHING, *, limit: int = 100, after: str = "") -> Records:
        """A page in the order of ids, beginning behind the id `after`; at most 1,000."""
        return await self._read(lambda: self._table.page(where, min(limit, PAGE_MOST), after))

    async def walk(self, where: Filter = EVERYTHING) -> AsyncIterator[Records]:
        """Everything that fits, page by page; nothing is held beside the page."""
        after = ""
        while page := await self.list(where, limit=PAGE_MOST, after=after):
            yield page
            after = page[-1].id

    async def count(self, where: Filter = EVERYTHING) -> int:
        """How many records fit."""
        return await self._read(lambda: self._table.count(where))

    async def matrix(self, where: Filter = EVERYTHING) -> tuple[Ids, Vector]:
        """Ids in order and their vectors, float32 (n, dim)."""
        return await self._read(lambda: self._table.matrix(where))

    async def scan(self, names: Sequence[str], work: Callable[..., object]) -> None:
        """Call `work` with these columns of every record, in a worker thread; the shard is never in memory whole."""
        await self._read(lambda: self._table.scan(names, work))

    async def stats(self) -> ShardStats:
        """Counts by domain, language, origin and licence."""
        tally = await self._read(self._table.tally)
        return ShardStats(
            records=tally["domain"].total(),
            domains=dict(tally["domain"]),
            languages=dict(tally["language"]),
            origins=dict(tally["origin"]),
            licences=dict(tally["licence"]),
        )

    async def _read(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._readers)

    async def _write(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._writer)


@asynccontextmanager
async def _seat(limiter: trio.CapacityLimiter) -> AsyncIterator[None]:
    """One of the limiter's tokens; a task may hold several, which the limiter's own context manager refuses."""
    holder = object()
    await limiter.acquire_on_behalf_of(holder)
    try:
        yield
    finally:
        limiter.release_on_behalf_of(holder)
