"""The catalogue on disk: every valid envelope that was heard, in the order of arrival.

`seq` is the number other nodes ask from when they catch up (`/schwung/catalog/1`); `epoch` names this store, because in
another one the same numbers mean other items. What we have read of others' stores is kept too.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS catalog (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL,
    raw         BLOB NOT NULL,
    expires_at  INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    domain      TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS catalog_by_expiry ON catalog (expires_at);
CREATE INDEX IF NOT EXISTS catalog_by_domain ON catalog (domain, seq);
CREATE TABLE IF NOT EXISTS catalog_epoch (one INTEGER PRIMARY KEY CHECK (one = 1), epoch BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS catalog_read (
    peer    TEXT NOT NULL,
    domain  TEXT NOT NULL,
    epoch   BLOB NOT NULL,
    seq     INTEGER NOT NULL,
    read_at INTEGER NOT NULL,
    PRIMARY KEY (peer, domain)
) STRICT;
CREATE TABLE IF NOT EXISTS followed (domain TEXT PRIMARY KEY) STRICT;
"""

KEPT_CURSORS = 4_096  # of peers and domains; who was not met for longest is read from the beginning again


class Entry(msgspec.Struct, frozen=True):
    """One envelope as it was heard; times are UTC seconds."""

    seq: int
    id: str
    kind: str
    raw: bytes
    expires_at: int
    received_at: int
    domain: str


class Arrival(msgspec.Struct, frozen=True):
    """An envelope that is to be kept, and the ids that it makes obsolete."""

    id: str
    kind: str
    domain: str
    raw: bytes
    expires_at: int
    replaces: tuple[str, ...] = ()


class CatalogStore:
    """The store of heard envelopes and followed domains."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def add(self, arrivals: Sequence[Arrival], now: int) -> set[str]:
        """Keep envelopes, in one write; the ids of those that were not known."""

        def run(conn: sqlite3.Connection) -> set[str]:
            new: set[str] = set()
            for one in arrivals:
                cursor = conn.execute(
                    "INSERT INTO catalog (id, kind, raw, expires_at, received_at, domain) VALUES (?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (id) DO NOTHING",
                    (one.id, one.kind, one.raw, one.expires_at, now, one.domain),
                )
                if cursor.rowcount:
                    new.add(one.id)
                    conn.executemany("DELETE FROM catalog WHERE id = ?", [(id,) for id in one.replaces])
            return new

        return await self._journal.write(run)

    async def page(self, after: int, limit: int) -> list[Entry]:
        """The entries that follow sequence number `after`, oldest first."""
        return await self._rows("SELECT * FROM catalog WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))

    async def index(self, domain: str, after: int, limit: int) -> tuple[list[str], int]:
        """The ids of a domain that follow `after` (a number never reached counts as 0), and where to go on."""

        def run(conn: sqlite3.Connection) -> list[sqlite3.Row]:
            last = conn.execute("SELECT seq FROM sqlite_sequence WHERE name = 'catalog'").fetchone()
            start = after if last is not None and after <= last[0] else 0
            sql = "SELECT seq, id FROM catalog WHERE domain = ? AND seq > ? ORDER BY seq LIMIT ?"
            return conn.execute(sql, (domain, start, limit)).fetchall()

        rows = await self._journal.read(run)
        return [row[1] for row in rows], rows[-1][0] if rows else after

    async def envelopes(self, ids: Sequence[str], max_bytes: int) -> tuple[list[bytes], int]:
        """The envelopes of the first ids, without those that are gone, and how many ids these were: at least one."""

        def run(conn: sqlite3.Connection) -> tuple[list[bytes], int]:
            found: list[bytes] = []
            size = 0
            for place, id in enumerate(ids):
                row = conn.execute("SELECT raw FROM catalog WHERE id = ?", (id,)).fetchone()
                size += len(row[0]) if row is not None else 0
                if found and size > max_bytes:
                    return found, place
                if row is not None:
                    found.append(row[0])
            return found, len(ids)

        return await self._journal.read(run)

    async def epoch(self) -> bytes:
        """The 16 bytes that name this store."""

        def run(conn: sqlite3.Connection) -> bytes:
            conn.execute("INSERT INTO catalog_epoch VALUES (1, ?) ON CONFLICT DO NOTHING", (os.urandom(16),))
            return bytes(conn.execute("SELECT epoch FROM catalog_epoch").fetchone()[0])

        return await self._journal.write(run)

    async def cursor(self, peer: str, domain: str) -> tuple[bytes, int]:
        """Up to where a peer's store was read: its epoch and number; (b"", 0) for one not met."""
        sql = "SELECT epoch, seq FROM catalog_read WHERE peer = ? AND domain = ?"
        row = await self._journal.read(lambda conn: conn.execute(sql, (peer, domain)).fetchone())
        return (b"", 0) if row is None else (bytes(row[0]), row[1])

    async def read_up_to(self, peer: str, domain: str, epoch: bytes, seq: int, now: int) -> None:
        """Remember where to go on with a peer's store."""

        def run(conn: sqlite3.Connection) -> None:
            conn.execute("INSERT OR REPLACE INTO catalog_read VALUES (?, ?, ?, ?, ?)", (peer, domain, epoch, seq, now))
            conn.execute(
                "DELETE FROM catalog_read WHERE rowid IN "
                "(SELECT rowid FROM catalog_read ORDER BY read_at DESC LIMIT -1 OFFSET ?)",
                (KEPT_CURSORS,),
            )

        await self._journal.write(run)

    async def place(self, domains: Sequence[tuple[str, str]]) -> None:
        """Note the domains of entries that an older version kept without: (id, domain)."""
        sql = "UPDATE catalog SET domain = ? WHERE id = ?"
        rows = [(domain, id) for id, domain in domains]
        await self._journal.write(lambda conn: conn.executemany(sql, rows) and None)

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
