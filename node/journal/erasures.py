"""What was erased: one row an erasure, written together with the destruction of the keys it destroys.

`body` is the account of it as JSON (node/market/proof.py). It names records by their hashes and holds no text.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from node.journal.items import FORGOTTEN
from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS erasures (
    erasure    TEXT PRIMARY KEY,
    state      TEXT NOT NULL CHECK (state IN ('begun', 'here', 'done')),
    body       BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS erased_records (
    record  TEXT NOT NULL,
    erasure TEXT NOT NULL REFERENCES erasures (erasure),
    PRIMARY KEY (record, erasure)
) STRICT, WITHOUT ROWID;
"""

State = Literal["begun", "here", "done"]


class ErasureRow(msgspec.Struct, frozen=True):
    """`here`: on this machine nothing is left, the chain still has to hear of it."""

    erasure: str
    state: State
    body: bytes
    created_at: int


class Erasures:
    """The store of erasures."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def begin(self, row: ErasureRow, records: Iterable[str], drafts: Mapping[str, bytes], subject: str) -> None:
        """In one transaction: note the erasure, destroy the content keys of the publications in `drafts` (whose
        drafts become the given ones), cut what the journal knows of the records.

        The raw items keep their hashes, so that collecting their source again does not bring the records back.
        """
        named = [(record, row.erasure) for record in sorted(records)]

        def run(conn: sqlite3.Connection) -> None:
            conn.execute("INSERT INTO erasures VALUES (?, ?, ?, ?)", msgspec.structs.astuple(row))
            conn.executemany("INSERT INTO erased_records VALUES (?, ?)", named)
            conn.executemany(
                "UPDATE publications SET content_key = NULL, state = 'withdrawn', draft = ? WHERE publication = ?",
                [(draft, publication) for publication, draft in drafts.items()],
            )
            conn.executemany(
                "UPDATE items SET outcome = ?, record = '' WHERE record = ? AND record <> ''",
                [(FORGOTTEN, record) for record, _ in named],
            )
            if subject:
                conn.execute("UPDATE sources SET subject = '' WHERE subject = ?", (subject,))

        await self._journal.write(run)

    async def move(self, erasure: str, state: State, body: bytes) -> None:
        """Write how far an erasure is."""
        sql = "UPDATE erasures SET state = ?, body = ? WHERE erasure = ?"
        await self._journal.write(lambda conn: conn.execute(sql, (state, body, erasure)))

    async def unfinished(self) -> list[ErasureRow]:
        """What a restart or an unlock has to go on with, oldest first."""
        return await self._rows("SELECT * FROM erasures WHERE state <> 'done' ORDER BY created_at, rowid", ())

    async def get(self, erasure: str) -> ErasureRow | None:
        """One erasure."""
        rows = await self._rows("SELECT * FROM erasures WHERE erasure = ?", (erasure,))
        return rows[0] if rows else None

    async def of_record(self, record: str) -> ErasureRow | None:
        """The newest erasure of a record."""
        sql = (
            "SELECT erasures.* FROM erasures JOIN erased_records USING (erasure) WHERE record = ? "
            "ORDER BY created_at DESC, erasures.rowid DESC LIMIT 1"
        )
        rows = await self._rows(sql, (record,))
        return rows[0] if rows else None

    async def newest(self, limit: int) -> list[ErasureRow]:
        """Newest first."""
        return await self._rows("SELECT * FROM erasures ORDER BY created_at DESC, rowid DESC LIMIT ?", (limit,))

    async def scrub(self) -> None:
        """Let what was overwritten leave the disk. Raises JournalError when a reader stood in the way."""
        await self._journal.scrub()

    async def _rows(self, sql: str, values: tuple[str | int, ...]) -> list[ErasureRow]:
        rows = await self._journal.read(lambda conn: conn.execute(sql, values).fetchall())
        return [ErasureRow(*row) for row in rows]
