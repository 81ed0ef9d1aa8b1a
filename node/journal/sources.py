"""What this node collects from, with which rights: sources, and the consents they stand on."""

from __future__ import annotations

import sqlite3

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS consents (
    consent   TEXT PRIMARY KEY,
    statement TEXT NOT NULL,
    giver     TEXT NOT NULL,
    given_at  INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS sources (
    source          TEXT PRIMARY KEY,
    uri             TEXT NOT NULL,
    domain          TEXT NOT NULL,
    licence         TEXT NOT NULL,
    consent         TEXT NOT NULL REFERENCES consents (consent),
    subject         TEXT NOT NULL,
    items           INTEGER NOT NULL DEFAULT 0,
    records         INTEGER NOT NULL DEFAULT 0,
    duplicates      INTEGER NOT NULL DEFAULT 0,
    near_duplicates INTEGER NOT NULL DEFAULT 0,
    rejected        INTEGER NOT NULL DEFAULT 0,
    redactions      INTEGER NOT NULL DEFAULT 0,
    runs            INTEGER NOT NULL DEFAULT 0,
    added_at        INTEGER NOT NULL,
    collected_at    INTEGER
) STRICT;
"""


class Consent(msgspec.Struct, frozen=True):
    """Who allowed what, and when (UTC seconds). `consent` is the hex SHA-256 of the three, which records carry."""

    consent: str
    statement: str
    giver: str
    given_at: int


class Source(msgspec.Struct, frozen=True):
    """A source and what came of it so far; `collected_at` is None until a run went through to its end."""

    source: str
    uri: str
    domain: str
    licence: str
    consent: str
    subject: str
    items: int
    records: int
    duplicates: int
    near_duplicates: int
    rejected: int
    redactions: int
    runs: int
    added_at: int
    collected_at: int | None


class Counts(msgspec.Struct, frozen=True):
    """What one batch adds to a source."""

    items: int
    records: int
    duplicates: int
    near_duplicates: int
    rejected: int
    redactions: int


class Sources(msgspec.Struct, frozen=True):
    """The store of sources."""

    journal: Journal

    async def begin(self, source: Source, consent: Consent) -> int:
        """Register a source, or its new rights, and count a run; returns the run's number, from 1."""

        def run(conn: sqlite3.Connection) -> int:
            conn.execute(
                "INSERT INTO consents VALUES (?, ?, ?, ?) ON CONFLICT (consent) DO NOTHING",
                (consent.consent, consent.statement, consent.giver, consent.given_at),
            )
            row = conn.execute(
                "INSERT INTO sources (source, uri, domain, licence, consent, subject, added_at, runs) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT (source) DO UPDATE SET licence = excluded.licence, "
                "consent = excluded.consent, subject = excluded.subject, runs = runs + 1 RETURNING runs",
                (
                    source.source, source.uri, source.domain, source.licence, consent.consent, source.subject,
                    source.added_at,
                ),
            ).fetchone()  # fmt: skip
            return int(row[0])

        return await self.journal.write(run)

    async def finish(self, source: str, now: int) -> None:
        """A run came to its end."""
        sql = "UPDATE sources SET collected_at = ? WHERE source = ?"
        await self.journal.write(lambda conn: conn.execute(sql, (now, source)))

    async def newest(self, limit: int) -> list[Source]:
        """The sources, newest first."""
        sql = "SELECT * FROM sources ORDER BY added_at DESC, source LIMIT ?"
        rows = await self.journal.read(lambda conn: conn.execute(sql, (limit,)).fetchall())
        return [Source(**dict(row)) for row in rows]

    async def find(self, name: str) -> list[Source]:
        """The sources with this id, or with this path in any domain."""
        sql = "SELECT * FROM sources WHERE source = ? OR uri = ?"
        rows = await self.journal.read(lambda conn: conn.execute(sql, (name, name)).fetchall())
        return [Source(**dict(row)) for row in rows]

    async def consent(self, consent: str) -> Consent | None:
        """The statement behind a record's consent hash."""
        sql = "SELECT * FROM consents WHERE consent = ?"
        row = await self.journal.read(lambda conn: conn.execute(sql, (consent,)).fetchone())
        return None if row is None else Consent(**dict(row))

    async def same_consent(self, statement: str, giver: str) -> Consent | None:
        """The same statement of the same giver, if he made it before: it keeps its date and so its hash."""
        sql = "SELECT * FROM consents WHERE statement = ? AND giver = ? ORDER BY given_at LIMIT 1"
        row = await self.journal.read(lambda conn: conn.execute(sql, (statement, giver)).fetchone())
        return None if row is None else Consent(**dict(row))


def add_counts(conn: sqlite3.Connection, source: str, counts: Counts) -> None:
    """Add a batch's numbers to a source, inside the transaction that notes its items."""
    names = counts.__struct_fields__
    sets = ", ".join(f"{name} = {name} + ?" for name in names)  # names are ours
    conn.execute(
        f"UPDATE sources SET {sets} WHERE source = ?",  # noqa: S608
        (*(getattr(counts, name) for name in names), source),
    )
