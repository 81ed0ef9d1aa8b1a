"""Shard records for tests, made from a text and a vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.shard.record import ShardRecord
from protocols.quality import Quality
from protocols.sealed.records import record_id


def unit(*components: float, dim: int = 8) -> NDArray[np.float32]:
    """A vector of length 1 whose first components stand in these proportions."""
    vector = np.zeros(dim, np.float32)
    vector[: len(components)] = components
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def shard_record(text: str, vector: NDArray[np.float32], **fields: Any) -> ShardRecord:
    """A record with unremarkable rights and quality; `fields` replace whatever a test cares about."""
    plain: dict[str, Any] = {
        "id": record_id("", text),
        "text": text,
        "domain": "fashion",
        "language": "en",
        "licence": "CC0-1.0",
        "consent": "0" * 64,
        "quality": Quality(validity=900_000, uniqueness=1_000_000, novelty=500_000, density=800_000),
        "model_id": "test",
        "created_at": 1_700_000_000,
    }
    return ShardRecord(**{**plain, **fields}, vector=vector)


def clustered(count: int, dim: int, clusters: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors around centres in few directions, as embeddings lie; noise in all of them would test no index."""
    random = np.random.default_rng(seed)
    spread = random.normal(size=(16, dim))
    centres = random.normal(size=(clusters, 16))
    vectors = (centres[random.integers(clusters, size=count)] + 0.6 * random.normal(size=(count, 16))) @ spread
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def texts_of(hits: Sequence[Any]) -> list[str]:
    """The texts of search hits, in order."""
    return [hit.record.text for hit in hits]
