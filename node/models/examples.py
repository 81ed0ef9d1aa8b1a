"""A training example: what the trainers see of a shard's record, and nothing more."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from protocols.ids import Address, RecordId


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One record. `owner` is the contributor's wallet, "" for the builder's own records; `dataset` 0 if never on
    chain.
    """

    id: RecordId
    title: str
    text: str
    label: str = ""
    owner: Address | str = ""
    dataset: int = 0


class Corpus(msgspec.Struct, frozen=True, kw_only=True):
    """Examples with their embeddings, row by row: `documents` of the texts, `queries` of the titles; (n, dim), unit
    length. `lessons` is how much each example counts in training, 1 where nobody has said anything about it.
    """

    examples: tuple[Example, ...]
    documents: np.ndarray
    queries: np.ndarray | None = None
    lessons: np.ndarray | None = None

    @property
    def weights(self) -> np.ndarray:
        """(n,), around 1."""
        return np.ones(len(self.examples)) if self.lessons is None else self.lessons

    def take(self, rows: Sequence[int]) -> Corpus:
        """The same corpus, only these rows, in this order."""
        index = np.asarray(rows, dtype=np.intp)
        return Corpus(
            examples=tuple(self.examples[row] for row in rows),
            documents=self.documents[index],
            queries=None if self.queries is None else self.queries[index],
            lessons=None if self.lessons is None else self.lessons[index],
        )
