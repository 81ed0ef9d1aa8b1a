"""What a run of a source did, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from node.collect.readers import Flaw
from node.refine import Batch


class CollectReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one run did. Every item is known from an earlier run, a record, a duplicate, a near duplicate or rejected.

    `unreadable` are files that were passed over, as "path: reason"; `redactions` and `rejected` count by kind.
    """

    source: str
    items: int = 0
    known: int = 0
    records: int = 0
    duplicates: int = 0
    near_duplicates: int = 0
    redactions: dict[str, int] = {}
    rejected: dict[str, int] = {}
    languages: dict[str, int] = {}
    files: int = 0
    unreadable: list[str] = []


class Tally:
    """The numbers of a run while it runs."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.items = self.known = self.records = self.duplicates = self.near_duplicates = self.flaws = 0
        self.redactions: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.unreadable: list[str] = []

    def add(self, items: int, known: int, repeated: int, batch: Batch | None) -> None:
        self.items += items
        self.known += known
        self.duplicates += repeated
        if batch is not None:
            self.records += len(batch.records)
            self.duplicates += batch.duplicates
            self.near_duplicates += batch.near_duplicates
            self.redactions.update(batch.redactions)
            self.rejected.update(batch.rejected)
            self.languages.update(batch.languages)

    def flaw(self, flaws: Iterable[Flaw]) -> None:
        for flaw in flaws:
            self.flaws += 1
            self.items += 1
            self.rejected[flaw.reason] += 1

    def report(self, file_count: int) -> CollectReport:
        return CollectReport(
            source=self.source,
            items=self.items,
            known=self.known,
            records=self.records,
            duplicates=self.duplicates,
            near_duplicates=self.near_duplicates,
            redactions=dict(self.redactions),
            rejected=dict(self.rejected),
            languages=dict(self.languages),
            files=file_count,
            unreadable=self.unreadable,
        )
