"""The tables of the journal: one noun a module, found here, applied together.

Every module of this package that defines `SCHEMA` (idempotent `CREATE … IF NOT EXISTS` statements) takes part.
A change to a table that already exists in the field is a step in `MIGRATIONS`: appended, never edited, never removed.
"""

from __future__ import annotations

import pkgutil
import sqlite3
from collections.abc import Iterator
from importlib import import_module

import node.journal
from node.journal.errors import JournalTooNew

# Step i brings a file of user_version i+1 to i+2. A new file starts at the end, its tables made from SCHEMA alone.
MIGRATIONS: tuple[str, ...] = (
    # a rating of a model is `told`: its reward comes by an epoch
    """
    CREATE TABLE feedback_2 (
        feedback   TEXT PRIMARY KEY,
        subject    TEXT NOT NULL,
        ticket     TEXT NOT NULL,
        domain     TEXT NOT NULL,
        body       BLOB NOT NULL,
        state      TEXT NOT NULL CHECK (state IN ('given', 'told', 'rewarded', 'unrewarded')),
        reward_wei TEXT NOT NULL DEFAULT '0',
        note       TEXT NOT NULL DEFAULT '',
        created_at INTEGER NOT NULL
    ) STRICT;
    INSERT INTO feedback_2 SELECT * FROM feedback;
    DROP TABLE feedback;
    ALTER TABLE feedback_2 RENAME TO feedback;
    """,
    # catching up goes by domain; the catalogue fills the column when it loads
    "ALTER TABLE catalog ADD COLUMN domain TEXT NOT NULL DEFAULT '';",
    # an owner's wants are summed up by domain and price; of those posted before, neither was kept
    """
    ALTER TABLE demands ADD COLUMN domain TEXT NOT NULL DEFAULT '';
    ALTER TABLE demands ADD COLUMN max_price_wei TEXT NOT NULL DEFAULT '0';
    """,
    # neighbours' catalogues are compared, no longer read by number
    """
    DROP TABLE IF EXISTS catalog_read;
    DROP TABLE IF EXISTS catalog_epoch;
    DROP INDEX IF EXISTS catalog_by_domain;
    """,
)

VERSION = len(MIGRATIONS) + 1


def schemas() -> dict[str, str]:
    """Noun → SQL of every noun module in this package, in the order of their names."""
    nouns = sorted(module.name for module in pkgutil.iter_modules(node.journal.__path__))
    found = {noun: getattr(import_module(f"node.journal.{noun}"), "SCHEMA", None) for noun in nouns}
    return {noun: sql for noun, sql in found.items() if isinstance(sql, str)}


def migrate(conn: sqlite3.Connection) -> None:
    """Bring the file forward to `VERSION` in one transaction; refuse one from the future."""
    conn.execute("BEGIN EXCLUSIVE")
    try:
        _forward(conn)
    except BaseException:
        conn.execute("ROLLBACK")
        raise
    conn.execute("COMMIT")


def _forward(conn: sqlite3.Connection) -> None:
    version = int(conn.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise JournalTooNew(f"the journal has schema {version}, this program knows up to {VERSION}")
    for step in MIGRATIONS[max(version, 1) - 1 :] if version else ():
        _run(conn, step)
    for sql in schemas().values():
        _run(conn, sql)
    conn.execute(f"PRAGMA user_version = {VERSION}")


def _run(conn: sqlite3.Connection, sql: str) -> None:
    for statement in statements(sql):
        conn.execute(statement)


def statements(sql: str) -> Iterator[str]:
    """Split a script; `executescript` would commit the transaction that surrounds it."""
    pending = ""
    for part in sql.split(";"):
        pending += part + ";"
        if sqlite3.complete_statement(pending):
            if pending.strip(" \n\t;"):
                yield pending
            pending = ""
