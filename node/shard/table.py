"""The blocking half of the shard: one LanceDB table, called from worker threads.

A flat scan answers in milliseconds below `INDEX_FROM` rows; above it an IVF_RQ index over the vectors and a B-tree over
the ids take over (IVF_PQ costs ten times as much to build for the same recall). Every small write is a new version and
a new fragment, so the table is compacted after some of them.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import BTree, IvfRq

from node.shard.durable import Flusher
from node.shard.errors import BadRecord, ShardBroken, WrongModel
from node.shard.filter import Filter, both, literal, one_of
from node.shard.record import ShardRecord, Vector, from_table, schema, to_matrix, to_table

NAME = "records"
INDEX_FROM = 5_000  # rows; a flat scan of 384 dimensions stays near 10 ms below
UNINDEXED_MOST = 5_000  # rows outside the index are scanned flat beside it; fold them in beyond this
COMPACT_EVERY = 32  # writes; leaves some dozen fragments at most, which a scan does not feel
KEEP_VERSIONS = datetime.timedelta(hours=1)  # a search that began before a compaction still finds its files
PROBES, REFINE = 20, 10  # recall@10 of .96 at 100,000 rows, .92 at a million
IDS_PER_QUERY = 500  # bounds the length of one SQL text
SCAN_ROWS = 4_096
FRAGMENT_BITS = 32  # a row's number: fragment above, place in the fragment below (Lance, "row address")
UNIT_TOLERANCE = 1e-3


class Table:
    """One table of one model. Not for concurrent writes; reads may run beside one write."""

    def __init__(self, path: Path, model_id: str, dim: int) -> None:
        self.model_id = model_id
        self.dim = dim
        self.layout = schema(model_id, dim)
        self._table = _open(path, self.layout)
        self._check_model(path)
        self._flusher = Flusher(path / f"{NAME}.lance")
        self._writes = 0
        self._counts: tuple[int, dict[str, Counter[str]]] | None = None

    def put(self, records: Sequence[ShardRecord]) -> int:
        """Insert or replace by id, durably; the last of equal ids wins. Returns how many ids are new."""
        unique = {record.id: record for record in records}
        if not unique:
            return 0
        for record in unique.values():
            self._check(record)
        rows = to_table(list(unique.values()), self.layout)
        merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        inserted = int(merge.execute(rows).num_inserted_rows)
        self._written()
        return inserted

    def forget(self, ids: Iterable[str]) -> int:
        """Delete by id; returns how many were there. Their bytes stay on the disk until `purge`.

        A fragment is rewritten by LanceDB only when a tenth of it is deleted. So the other rows leave first: then the
        deletion empties the fragment and its file goes whole. A crash in between leaves every row in its place.
        """
        wanted = sorted(set(ids))
        before = self._table.count_rows()
        self._move_neighbours(wanted)
        for start in range(0, len(wanted), IDS_PER_QUERY):
            self._table.delete(one_of("id", wanted[start : start + IDS_PER_QUERY]))
        gone = int(before - self._table.count_rows())
        if gone:
            self._written()
        return gone

    def _move_neighbours(self, wanted: Sequence[str]) -> None:
        """Write the rows that share a fragment with these anew, into fragments of their own."""
        leaving = set(wanted)
        for fragment in self._fragments(wanted):
            where = f"_rowid >= {fragment << FRAGMENT_BITS} AND _rowid < {(fragment + 1) << FRAGMENT_BITS}"
            for batch in self._table.search().where(where).to_batches(SCAN_ROWS):
                rows = pa.Table.from_batches([batch])
                rows = rows.filter(pa.array([id not in leaving for id in rows["id"].to_pylist()], pa.bool_()))
                if rows.num_rows:
                    moved = rows.select(self.layout.names).cast(self.layout)
                    self._table.merge_insert("id").when_matched_update_all().execute(moved)

    def _fragments(self, ids: Sequence[str]) -> set[int]:
        """Where these rows lie; a row's number is its fragment's and its place in it."""
        found: set[int] = set()
        for start in range(0, len(ids), IDS_PER_QUERY):
            condition = one_of("id", ids[start : start + IDS_PER_QUERY])
            rows = self._table.search().where(condition).select(["id"]).with_row_id(True).to_arrow()
            found |= {number >> FRAGMENT_BITS for number in rows["_rowid"].to_pylist()}
        return found

    def search(self, vector: Vector, limit: int, where: Filter) -> list[tuple[ShardRecord, float]]:
        """The nearest records and their cosine, best first."""
        if vector.shape != (self.dim,):
            raise BadRecord(f"a query vector of shape {vector.shape} does not fit a shard of {self.dim} dimensions")
        query = self._table.search(vector.astype(np.float32)).distance_type("dot").nprobes(PROBES).refine_factor(REFINE)
        if condition := where.sql():
            query = query.where(condition, prefilter=True)
        found = query.limit(limit).to_arrow()
        cosines = [1.0 - distance for distance in found["_distance"].to_pylist()]
        return list(zip(from_table(found, self.model_id), cosines, strict=True))

    def fetch(self, ids: Sequence[str]) -> list[ShardRecord]:
        """The records of these ids, in their order; unknown ids are left out."""
        found: dict[str, ShardRecord] = {}
        for start in range(0, len(ids), IDS_PER_QUERY):
            part = ids[start : start + IDS_PER_QUERY]
            rows = self._table.search().where(one_of("id", part)).limit(len(part)).to_arrow()
            found.update({record.id: record for record in from_table(rows, self.model_id)})
        return [found[id] for id in ids if id in found]

    def page(self, where: Filter, limit: int, after: str) -> list[ShardRecord]:
        """Up to `limit` records in the order of their ids, beginning behind `after`."""
        condition = both(where.sql(), f"id > {literal(after)}")
        query = self._table.search().where(condition).order_by([{"column_name": "id"}]).limit(limit)
        return list(from_table(query.to_arrow(), self.model_id))

    def columns(self, where: Filter, names: Sequence[str]) -> pa.Table:
        """Some columns of everything that fits, unordered."""
        query = self._table.search().select(list(names))
        if condition := where.sql():
            query = query.where(condition)
        return query.to_arrow()

    def matrix(self, where: Filter) -> tuple[list[str], Vector]:
        """Ids in order, and their vectors (rows, dim): for training, novelty and duplicates."""
        rows = self.columns(where, ["id", "vector"]).sort_by("id")
        if not rows.num_rows:
            return [], np.empty((0, self.dim), np.float32)
        return rows["id"].to_pylist(), to_matrix(rows["vector"])

    def scan(self, names: Sequence[str], work: Callable[..., object]) -> None:
        """Call `work` with these columns of every record, in no order; some thousand rows are held at a time."""
        for batch in self._table.search().select(list(names)).to_batches(SCAN_ROWS):
            for row in zip(*(batch[name].to_pylist() for name in names), strict=True):
                work(*row)

    def count(self, where: Filter) -> int:
        """How many records fit."""
        return int(self._table.count_rows(where.sql() or None))

    def tally(self) -> dict[str, Counter[str]]:
        """How many records there are of each domain, language, origin and licence."""
        version = int(self._table.version)
        if self._counts is None or self._counts[0] != version:
            names = ("domain", "language", "origin", "licence")
            rows = self.columns(Filter(), names)
            self._counts = version, {name: Counter(rows[name].to_pylist()) for name in names}
        return self._counts[1]

    def purge(self) -> None:
        """Drop every older version and build the indices anew, so that deleted bytes leave the disk.

        No reader may be at work.
        """
        if self._table.list_indices():
            self._build()
        self.compact(keep=datetime.timedelta(milliseconds=1))

    def compact(self, keep: datetime.timedelta = KEEP_VERSIONS) -> None:
        """Merge fragments, fold new rows into the indices, drop versions older than `keep`."""
        self._table.optimize(cleanup_older_than=keep)
        self._flusher.flush()
        self._writes = 0

    def _written(self) -> None:
        self._flusher.flush()
        self._writes += 1
        self._index()
        if self._writes >= COMPACT_EVERY:
            self.compact()

    def _index(self) -> None:
        if self._table.count_rows() < INDEX_FROM:
            return
        indices = {index.name for index in self._table.list_indices()}
        if "vector_idx" not in indices:
            self._build()
        elif self._table.index_stats("vector_idx").num_unindexed_rows > UNINDEXED_MOST:
            self.compact()

    def _build(self) -> None:
        self._table.create_index("vector", config=IvfRq(distance_type="dot"))
        self._table.create_index("id", config=BTree())

    def _check(self, record: ShardRecord) -> None:
        if record.model_id != self.model_id:
            raise WrongModel(f"record {record.id} was embedded by {record.model_id}, this shard by {self.model_id}")
        if record.vector.shape != (self.dim,):
            raise BadRecord(f"record {record.id} has a vector of shape {record.vector.shape}, not ({self.dim},)")
        length = float(np.linalg.norm(record.vector))
        if not abs(length - 1) < UNIT_TOLERANCE:  # a NaN fails too
            raise BadRecord(f"record {record.id} has a vector of length {length:.4g}, not 1")

    def _check_model(self, path: Path) -> None:
        meta: dict[bytes, bytes] = self._table.schema.metadata or {}
        made_with, dim = meta.get(b"model_id", b"?").decode(), meta.get(b"dim", b"?").decode()
        if (made_with, dim) != (self.model_id, str(self.dim)):
            raise WrongModel(
                f"the shard in {path} was made with embedder {made_with} ({dim} dimensions), "
                f"the node now has {self.model_id} ({self.dim}): go back to that embedder or name another datadir"
            )


def _open(path: Path, layout: pa.Schema) -> Any:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = lancedb.connect(str(path))
        if NAME in database.list_tables().tables:
            return database.open_table(NAME)
        return database.create_table(NAME, schema=layout)
    except (OSError, RuntimeError, ValueError) as err:
        raise ShardBroken(f"the shard in {path} cannot be opened: {err}") from err
