"""The owner's side of profiles: what he consented to and when, what he asked while he consented, the editions sold.

A consent is never edited: other terms end it and begin another, so the rows tell who could buy what at any time. The
history holds vectors and no texts, and only of sources and domains whose consent is in force.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS profile_consents (
    consent   INTEGER PRIMARY KEY,
    domain    TEXT NOT NULL,
    price_wei TEXT NOT NULL,
    sources   TEXT NOT NULL,
    epsilon   INTEGER NOT NULL,
    floor     INTEGER NOT NULL,
    given_at  INTEGER NOT NULL,
    ended_at  INTEGER NOT NULL DEFAULT 0,
    advert    TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS profile_consent_in_force ON profile_consents (domain) WHERE ended_at = 0;
CREATE TABLE IF NOT EXISTS profile_history (
    place    INTEGER PRIMARY KEY,
    source   TEXT NOT NULL,
    domain   TEXT NOT NULL,
    model_id TEXT NOT NULL,
    vector   BLOB NOT NULL,
    at       INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS profile_history_by_domain ON profile_history (domain, source, at);
CREATE TABLE IF NOT EXISTS profile_editions (
    digest   BLOB PRIMARY KEY,
    domain   TEXT NOT NULL,
    body     BLOB NOT NULL,
    members  BLOB NOT NULL,
    made_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS profile_editions_by_domain ON profile_editions (domain, made_at);
"""

HISTORY_S = 90 * 86_400  # older wants say little of today's
HISTORY_MOST = 2_000  # of one source and domain; the oldest go
EDITIONS_KEPT = 2  # of a domain: a quote may be for the one before


class Consent(msgspec.Struct, frozen=True):
    """Terms, from when to when (UTC seconds; 0: in force), and the item that advertises them, "" when none does."""

    consent: int
    domain: str
    price_wei: int
    sources: tuple[str, ...]
    epsilon: int
    floor: int
    given_at: int
    ended_at: int
    advert: str


class Past(msgspec.Struct, frozen=True):
    """Something that was asked: int8 components, empty for a call of a model."""

    vector: bytes
    at: int


class Edition(msgspec.Struct, frozen=True):
    """A profile as it is sold. `members`: 8 bytes for each want it was made of."""

    digest: bytes
    domain: str
    body: bytes
    members: bytes
    made_at: int


class ProfileStore:
    """The store of an owner."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    # --- consent ---

    async def consent(
        self, domain: str, price_wei: int, sources: Sequence[str], epsilon: int, floor: int, now: int
    ) -> Consent:
        """Note a consent; other terms for the domain end with it, and what was made under them is dropped."""
        values = (domain, str(price_wei), " ".join(sources), epsilon, floor, now)

        def run(conn: sqlite3.Connection) -> Consent:
            _end(conn, domain, now)
            conn.execute("DELETE FROM profile_editions WHERE domain = ?", (domain,))
            marks = ", ".join("?" * len(sources))
            conn.execute(
                f"DELETE FROM profile_history WHERE domain = ? AND source NOT IN ({marks})",  # noqa: S608
                (domain, *sources),
            )
            sql = (
                "INSERT INTO profile_consents (domain, price_wei, sources, epsilon, floor, given_at) "
                "VALUES (?, ?, ?, ?, ?, ?) RETURNING *"
            )
            return _consent(conn.execute(sql, values).fetchone())

        return await self._journal.write(run)

    async def revoke(self, domain: str, now: int) -> bool:
        """End the consent for a domain and drop its history and editions; whether one was in force."""

        def run(conn: sqlite3.Connection) -> bool:
            ended = _end(conn, domain, now)
            _erase(conn, domain)
            return ended

        return await self._journal.write(run)

    async def advertised(self, consent: int, advert: str) -> None:
        """Which item tells of a consent; "" when it was taken back."""
        sql = "UPDATE profile_consents SET advert = ? WHERE consent = ?"
        await self._journal.write(lambda conn: conn.execute(sql, (advert, consent)))

    async def consents(self, domain: str | None = None) -> list[Consent]:
        """Every consent there ever was, newest first."""
        sql = "SELECT * FROM profile_consents WHERE ?1 IS NULL OR domain = ?1 ORDER BY consent DESC"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (domain,)).fetchall())
        return [_consent(row) for row in rows]

    async def in_force(self, domain: str) -> Consent | None:
        """What is consented to for a domain now."""
        sql = "SELECT * FROM profile_consents WHERE domain = ? AND ended_at = 0"
        row = await self._journal.read(lambda conn: conn.execute(sql, (domain,)).fetchone())
        return None if row is None else _consent(row)

    # --- history ---

    async def note(self, source: str, domain: str, model_id: str, vector: bytes, now: int) -> bool:
        """Remember what was asked, if a consent in force says so; the oldest make room."""

        def run(conn: sqlite3.Connection) -> bool:
            row = conn.execute("SELECT sources FROM profile_consents WHERE domain = ? AND ended_at = 0", (domain,))
            found = row.fetchone()
            if found is None or source not in found[0].split():
                return False
            conn.execute(
                "INSERT INTO profile_history (source, domain, model_id, vector, at) VALUES (?, ?, ?, ?, ?)",
                (source, domain, model_id, vector, now),
            )
            _cut(conn, source, domain, now)
            return True

        return await self._journal.write(run)

    async def past(self, source: str, domain: str, model_id: str, since: int) -> list[Past]:
        """What was asked since a time, oldest first."""
        sql = (
            "SELECT vector, at FROM profile_history "
            "WHERE source = ? AND domain = ? AND model_id = ? AND at >= ? ORDER BY place"
        )
        values = (source, domain, model_id, since)
        rows = await self._journal.read(lambda conn: conn.execute(sql, values).fetchall())
        return [Past(*row) for row in rows]

    async def forget(self, domain: str | None) -> int:
        """Erase the history and the editions of a domain, or of all, from the disk too; how many rows of history."""

        def run(conn: sqlite3.Connection) -> int:
            if domain is not None:
                return _erase(conn, domain)
            conn.execute("DELETE FROM profile_editions")
            return conn.execute("DELETE FROM profile_history").rowcount

        gone = await self._journal.write(run)
        await self.scrub()
        return gone

    async def scrub(self) -> None:
        """Let what was erased leave the disk. Raises JournalError when a reader stood in the way."""
        await self._journal.scrub()

    # --- editions ---

    async def put_edition(self, edition: Edition) -> None:
        """Keep an edition; the oldest of its domain goes."""

        def run(conn: sqlite3.Connection) -> None:
            conn.execute(
                "INSERT OR REPLACE INTO profile_editions VALUES (?, ?, ?, ?, ?)", msgspec.structs.astuple(edition)
            )
            conn.execute(
                "DELETE FROM profile_editions WHERE domain = ?1 AND rowid NOT IN "
                "(SELECT rowid FROM profile_editions WHERE domain = ?1 ORDER BY made_at DESC, rowid DESC LIMIT ?2)",
                (edition.domain, EDITIONS_KEPT),
            )

        await self._journal.write(run)

    async def editions(self, domain: str) -> list[Edition]:
        """The kept editions of a domain, newest first."""
        sql = "SELECT * FROM profile_editions WHERE domain = ? ORDER BY made_at DESC, rowid DESC"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (domain,)).fetchall())
        return [Edition(*row) for row in rows]


def _consent(row: sqlite3.Row) -> Consent:
    consent, domain, price, sources, *rest = tuple(row)
    return Consent(consent, domain, int(price), tuple(sources.split()), *rest)


def _end(conn: sqlite3.Connection, domain: str, now: int) -> bool:
    sql = "UPDATE profile_consents SET ended_at = ? WHERE domain = ? AND ended_at = 0"
    return conn.execute(sql, (now, domain)).rowcount > 0


def _erase(conn: sqlite3.Connection, domain: str) -> int:
    conn.execute("DELETE FROM profile_editions WHERE domain = ?", (domain,))
    return conn.execute("DELETE FROM profile_history WHERE domain = ?", (domain,)).rowcount


def _cut(conn: sqlite3.Connection, source: str, domain: str, now: int) -> None:
    conn.execute("DELETE FROM profile_history WHERE at < ?", (now - HISTORY_S,))
    conn.execute(
        "DELETE FROM profile_history WHERE source = ?1 AND domain = ?2 AND place NOT IN "
        "(SELECT place FROM profile_history WHERE source = ?1 AND domain = ?2 ORDER BY place DESC LIMIT ?3)",
        (source, domain, HISTORY_MOST),
    )
