"""Which raw items were seen, and what became of them: the reason why collecting again changes nothing.

An item is noted `pending` with its record's id before the record is stored, and settled afterwards. After a crash the
pending ones of a source are looked up in the shard: they became records, or they will be collected again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from node.journal.journal import Journal
from node.journal.sources import Counts, add_counts

SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    source  TEXT NOT NULL,
    item    BLOB NOT NULL,
    run     INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    record  TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (source, item)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS items_pending ON items (source) WHERE outcome = 'pending';
CREATE INDEX IF NOT EXISTS items_by_record ON items (record) WHERE record <> '';
"""

PENDING, STORED, LEFT_OUT = "pending", "record", "left out"
FORGOTTEN = "forgotten"  # its record was erased: the item stays known, so that the same source does not revive it
KEYS_PER_QUERY = 500


class Items(msgspec.Struct, frozen=True):
    """The store of seen items; `item` is the SHA-256 of the raw content."""

    journal: Journal

    async def known(self, source: str, items: Sequence[bytes]) -> dict[bytes, int]:
        """Which of these were seen before, and in which run."""

        def run(conn: sqlite3.Connection) -> dict[bytes, int]:
            found: dict[bytes, int] = {}
            for start in range(0, len(items), KEYS_PER_QUERY):
                part = items[start : start + KEYS_PER_QUERY]
                marks = ", ".join("?" * len(part))
                sql = f"SELECT item, run FROM items WHERE source = ? AND item IN ({marks})"  # noqa: S608
                found.update((row[0], row[1]) for row in conn.execute(sql, (source, *part)))
            return found

        return await self.journal.read(run)

    async def announce(self, source: str, run: int, records: Mapping[bytes, str]) -> None:
        """Note which record each item is about to become."""
        rows = [(source, item, run, PENDING, record) for item, record in records.items()]
        await self.journal.write(lambda conn: conn.executemany(_UPSERT, rows))

    async def settle(self, source: str, run: int, left_out: Iterable[bytes], counts: Counts) -> None:
        """The announced records are stored; these items became none; the source grows by `counts`."""
        rows = [(source, item, run, LEFT_OUT, "") for item in left_out]

        def write(conn: sqlite3.Connection) -> None:
            conn.executemany(_UPSERT, rows)
            conn.execute("UPDATE items SET outcome = ? WHERE source = ? AND outcome = ?", (STORED, source, PENDING))
            add_counts(conn, source, counts)

        await self.journal.write(write)

    async def pending(self, source: str) -> dict[bytes, str]:
        """Items a crash left between announcement and settlement, with their records' ids."""
        sql = "SELECT item, record FROM items WHERE source = ? AND outcome = ?"
        rows = await self.journal.read(lambda conn: conn.execute(sql, (source, PENDING)).fetchall())
        return {row[0]: row[1] for row in rows}

    async def recover(self, source: str, stored: Sequence[bytes], lost: Sequence[bytes], counts: Counts) -> None:
        """Settle what a crash left: `stored` are in the shard, `lost` will be collected again."""

        def write(conn: sqlite3.Connection) -> None:
            conn.executemany("DELETE FROM items WHERE source = ? AND item = ?", [(source, item) for item in lost])
            conn.executemany(
                "UPDATE items SET outcome = ? WHERE source = ? AND item = ?",
                [(STORED, source, item) for item in stored],
            )
            add_counts(conn, source, counts)

        await self.journal.write(write)

    async def drop(self, source: str) -> None:
        """Forget a source and its items; the records stay in the shard."""

        def write(conn: sqlite3.Connection) -> None:
            conn.execute("DELETE FROM items WHERE source = ?", (source,))
            conn.execute("DELETE FROM sources WHERE source = ?", (source,))

        await self.journal.write(write)


_UPSERT = "INSERT INTO items VALUES (?, ?, ?, ?, ?) ON CONFLICT (source, item) DO NOTHING"
