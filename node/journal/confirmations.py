"""Signed confirmations on their way to the contract: which sales went into which batch.

A batch is written before its transaction is signed and names it (`confirm:<batch>`), so that after a crash that very
transaction is taken up. Rows go when their batch is through; the signatures also stand in the sales' own states.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS confirm_batches (
    batch INTEGER PRIMARY KEY AUTOINCREMENT
) STRICT;
CREATE TABLE IF NOT EXISTS confirmations (
    sale      TEXT PRIMARY KEY,
    signature BLOB NOT NULL,
    batch     INTEGER NOT NULL REFERENCES confirm_batches (batch)
) STRICT;
"""


class Confirmation(msgspec.Struct, frozen=True):
    """A sale and its buyer's signature (EIP-2098)."""

    sale: str
    signature: bytes


class Batch(msgspec.Struct, frozen=True):
    """What one transaction brings. Numbers are never used again."""

    number: int
    items: tuple[Confirmation, ...]


class Confirmations:
    """The store of batches."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def form(self, items: Sequence[Confirmation]) -> Batch:
        """Write a new batch. A sale that stands in an older one moves over."""

        def run(conn: sqlite3.Connection) -> int:
            number = conn.execute("INSERT INTO confirm_batches DEFAULT VALUES").lastrowid
            rows = [(item.sale, item.signature, number) for item in items]
            conn.executemany("INSERT OR REPLACE INTO confirmations VALUES (?, ?, ?)", rows)
            return int(number or 0)

        return Batch(await self._journal.write(run), tuple(items))

    async def unfinished(self) -> list[Batch]:
        """The batches that are not through, the oldest first."""
        sql = "SELECT batch, sale, signature FROM confirmations ORDER BY batch, sale"
        rows = await self._journal.read(lambda conn: conn.execute(sql).fetchall())
        found: dict[int, list[Confirmation]] = {}
        for number, sale, signature in rows:
            found.setdefault(number, []).append(Confirmation(sale, signature))
        return [Batch(number, tuple(items)) for number, items in found.items()]

    async def finish(self, number: int) -> None:
        """A batch is through, or given up."""
        sql = "DELETE FROM confirmations WHERE batch = ?"
        await self._journal.write(lambda conn: conn.execute(sql, (number,)))
