"""The catalogue on disk: every valid envelope that was heard, and beside it the little that a start needs of it.

`catalog` has the envelopes, read one by one when somebody asks for them; `catalog_kept` what memory keeps (a third of
the bytes), so that a start neither decodes envelopes nor checks their signatures again: nothing gets into these tables
unchecked. An entry without its companion was written by an older version.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

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
CREATE TABLE IF NOT EXISTS catalog_kept (
    seq        INTEGER PRIMARY KEY REFERENCES catalog (seq) ON DELETE CASCADE,
    id         TEXT NOT NULL,
    kind       TEXT NOT NULL,
    domain     TEXT NOT NULL,
    signer     TEXT NOT NULL,
    peer       TEXT NOT NULL,
    made_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    kept       BLOB,
    mean       BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS followed (domain TEXT PRIMARY KEY) STRICT;
"""

T = TypeVar("T")


class Kept(msgspec.Struct, frozen=True):
    """What a start needs of one entry. `kept` is None where the envelope itself is kept; times are UTC seconds.

    `mean` is a vector of float32 in the embedding space that was in use when it was written.
    """

    id: str
    kind: str
    domain: str
    signer: str
    peer: str
    made_at: int
    expires_at: int
    size: int
    kept: bytes | None
    mean: bytes | None


class Arrival(msgspec.Struct, frozen=True):
    """An envelope that is to be kept, and the ids that it makes obsolete."""

    raw: bytes
    kept: Kept
    replaces: tuple[str, ...] = ()


class CatalogStore:
    """The store of heard envelopes and followed domains."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def add(self, arrivals: Sequence[Arrival], gone: Sequence[str], now: int) -> set[str]:
        """Keep envelopes and drop those that made room for them, in one write; the ids of those that were not known."""

        def run(conn: sqlite3.Connection) -> set[str]:
            new: set[str] = set()
            _remove(conn, gone)
            for one in arrivals:
                kept = one.kept
                cursor = conn.execute(
                    "INSERT INTO catalog (id, kind, raw, expires_at, received_at, domain) VALUES (?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (id) DO NOTHING",
                    (kept.id, kept.kind, one.raw, kept.expires_at, now, kept.domain),
                )
                if cursor.rowcount:
                    new.add(kept.id)
                    _keep(conn, cursor.lastrowid or 0, kept)
                    _remove(conn, one.replaces)
            return new

        return await self._journal.write(run)

    async def page(self, after: int, limit: int) -> list[tuple[int, Kept, bytes]]:
        """What a start needs of the entries that follow number `after`, oldest first: number, companion, envelope.

        The envelope comes only where it is itself what is kept (else b"").
        """
        sql = (
            "SELECT k.seq, k.id, k.kind, k.domain, k.signer, k.peer, k.made_at, k.expires_at, k.size, k.kept, k.mean, "
            "CASE WHEN k.kept IS NULL THEN (SELECT raw FROM catalog WHERE seq = k.seq) ELSE x'' END "
            "FROM catalog_kept k WHERE k.seq > ? ORDER BY k.seq LIMIT ?"
        )
        rows = await self._journal.read(lambda conn: conn.execute(sql, (after, limit)).fetchall())
        return [(row[0], Kept(*row[1:11]), row[11]) for row in rows]

    async def bare(self, limit: int) -> list[tuple[str, bytes]]:
        """Entries that have no companion yet: id and envelope."""
        sql = "SELECT id, raw FROM catalog WHERE seq NOT IN (SELECT seq FROM catalog_kept) ORDER BY seq LIMIT ?"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (limit,)).fetchall())
        return [(row[0], row[1]) for row in rows]

    async def accompany(self, companions: Sequence[Kept]) -> None:
        """Write, or write anew, what a start needs of entries."""

        def run(conn: sqlite3.Connection) -> None:
            for kept in companions:
                row = conn.execute("SELECT seq FROM catalog WHERE id = ?", (kept.id,)).fetchone()
                if row is not None:
                    _keep(conn, row[0], kept)

        await self._journal.write(run)

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

    async def each(self, ids: Sequence[str], look: Callable[[str, bytes], T]) -> list[T]:
        """What `look` finds in the envelopes that are there, in this order; it runs in the reader's thread."""

        def run(conn: sqlite3.Connection) -> list[T]:
            sql = "SELECT raw FROM catalog WHERE id = ?"
            rows = ((id, conn.execute(sql, (id,)).fetchone()) for id in ids)
            return [look(id, row[0]) for id, row in rows if row is not None]

        return await self._journal.read(run)

    async def remove(self, *ids: str) -> None:
        """Drop envelopes; one of ours that was withdrawn does not come back from peers."""
        await self._journal.write(lambda conn: _remove(conn, ids))

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


def _keep(conn: sqlite3.Connection, seq: int, kept: Kept) -> None:
    values = (seq, *msgspec.structs.astuple(kept))
    conn.execute("INSERT OR REPLACE INTO catalog_kept VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def _remove(conn: sqlite3.Connection, ids: Sequence[str]) -> None:
    conn.executemany("DELETE FROM catalog WHERE id = ?", [(id,) for id in ids])
