"""The catalogue on disk: every valid envelope that was heard, in the order of arrival.

`seq` is the number other nodes ask from when they catch up (`/schwung/catalog/1`).
"""

from __future__ import annotations

import sqlite3

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS catalog (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL,
    raw         BLOB NOT NULL,
    expires_at  INTEGER NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS catalog_by_expiry ON catalog (expires_at);
CREATE TABLE IF NOT EXISTS followed (domain TEXT PRIMARY KEY) STRICT;
"""


class Entry(msgspec.Struct, frozen=True):
    """One envelope as it was heard; times are UTC seconds."""

    seq: int
    id: str
    kind: str
    raw: bytes
    expires_at: int
    received_at: int


class CatalogStore:
    """The store of heard envelopes and followed domains."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def add(self, id: str, kind: str, raw: bytes, expires_at: int, now: int) -> int | None:
        """Keep an envelope; returns its sequence number, None when it was known."""

        def run(conn: sqlite3.Connection) -> int | None:
            cursor = conn.execute(
                "INSERT INTO catalog (id, kind, raw, expires_at, received_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO NOTHING",
                (id, kind, raw, expires_at, now),
            )
            return cursor.lastrowid if cursor.rowcount else None

        return await self._journal.write(run)

    async def all(self) -> list[Entry]:
        """Everything, oldest first: read once at start."""
        return await self._rows("SELECT * FROM catalog ORDER BY seq", ())

    async def page(self, after: int, limit: int) -> list[Entry]:
        """The entries that follow sequence number `after`."""
        return await self._rows("SELECT * FROM catalog WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))

    async def remove(self, id: str) -> None:
        """Drop an envelope; one of ours that was withdrawn does not come back from peers."""
        await self._journal.write(lambda conn: conn.execute("DELETE FROM catalog WHERE id = ?", (id,)))

    async def expire(self, now: int) -> int:
        """Drop what expired; returns how many."""
        sql = "DELETE FROM catalog WHERE expires_at <= ?"
        return await self._journal.write(lambda conn: conn.execute(sql, (now,)).rowcount)

    async def follow(self, domain: str) -> None:
        """Remember a domain to listen to."""
        sql = "INSERT INTO followed (domain) VALUES (?) ON CONFLICT DO NOTHING"
        await self._journal.write(lambda conn: conn.execute(sql, (domain,)))

    async def followed(self) -> list[str]:
        """The domains to listen to."""
        sql = "SELECT domain FROM followed ORDER BY domain"
        return await self._journal.read(lambda conn: [row[0] for row in conn.execute(sql)])

    async def _rows(self, sql: str, values: tuple[int, ...]) -> list[Entry]:
        rows = await self._journal.read(lambda conn: conn.execute(sql, values).fetchall())
        return [Entry(*row) for row in rows]
