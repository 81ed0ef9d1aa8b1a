"""A record as the shard keeps it, and its row in the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from node.shard.errors import BadRecord
from protocols.quality import WEIGHTS, Quality

Vector = NDArray[np.float32]
Origin = Literal["own", "bought"]


class ShardRecord(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One refined item with its rights, provenance, quality and embedding.

    `licence` and `consent` (hex SHA-256 of the consent statement) are facts of every record. `owner` is the
    contributor's wallet, '' for this node's own data; `dataset` the on-chain id, 0 before registration; `deal` the
    purchase it came by; `created_at` UTC seconds, 0 when unknown.
    """

    id: str
    text: str
    title: str = ""
    domain: str
    language: str = ""
    labels: dict[str, str] = {}
    licence: str
    consent: str
    subject: str = ""
    source: str = ""
    origin: Origin = "own"
    owner: str = ""
    dataset: int = 0
    deal: str = ""
    quality: Quality = Quality()
    score_version: int = 0
    vector: Vector
    model_id: str
    created_at: int = 0


TEXT_COLUMNS = (
    "id", "text", "title", "domain", "language", "licence", "consent", "subject", "source", "origin", "owner", "deal",
)  # fmt: skip
INT_COLUMNS = ("dataset", "score_version", "created_at")


def schema(model_id: str, dim: int) -> pa.Schema:
    """The table's columns; the metadata tie it to one embedding model."""
    fields = [pa.field(name, pa.string(), nullable=False) for name in TEXT_COLUMNS]
    fields += [pa.field(name, pa.int64(), nullable=False) for name in INT_COLUMNS]
    fields.append(pa.field("labels", pa.string(), nullable=False))  # a JSON object
    fields += [pa.field(f"q_{name}", pa.int32(), nullable=False) for name in WEIGHTS]
    fields.append(pa.field("q_overall", pa.int32(), nullable=False))  # for ordering; recomputed when read
    fields.append(pa.field("vector", pa.list_(pa.float32(), dim), nullable=False))
    return pa.schema(fields, metadata={"model_id": model_id, "dim": str(dim)})


def to_table(records: Sequence[ShardRecord], layout: pa.Schema) -> pa.Table:
    """Rows for `records`. Raises BadRecord for text that UTF-8 cannot hold."""
    columns: dict[str, Any] = {
        name: [getattr(record, name) for record in records] for name in (*TEXT_COLUMNS, *INT_COLUMNS)
    }
    columns["labels"] = [msgspec.json.encode(record.labels).decode() for record in records]
    for name in WEIGHTS:
        columns[f"q_{name}"] = [getattr(record.quality, name) for record in records]
    columns["q_overall"] = [record.quality.overall for record in records]
    matrix = np.stack([record.vector for record in records]).astype(np.float32)
    columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])
    try:
        return pa.table(columns, schema=layout)
    except (UnicodeEncodeError, pa.ArrowException) as err:
        raise BadRecord(f"a record cannot be stored: {err}") from err


def from_table(table: pa.Table, model_id: str) -> Iterator[ShardRecord]:
    """The records of a table that `to_table` made, in its order."""
    if not table.num_rows:
        return
    vectors = to_matrix(table["vector"])
    names = [name for name in table.column_names if name != "vector"]
    for row, vector in zip(table.select(names).to_pylist(), vectors, strict=True):
        quality = Quality(**{name: row[f"q_{name}"] for name in WEIGHTS})
        plain = {name: row[name] for name in (*TEXT_COLUMNS, *INT_COLUMNS)}
        labels = msgspec.json.decode(row["labels"], type=dict[str, str])
        yield ShardRecord(**plain, labels=labels, quality=quality, vector=vector, model_id=model_id)


def to_matrix(column: pa.ChunkedArray) -> Vector:
    """A vector column as one array (rows, dim)."""
    flat = column.combine_chunks()
    values = flat.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return np.asarray(values.reshape(len(flat), flat.type.list_size))
