"""What this node sells: one row an own offer, from the moment its key exists.

The content key stands here and nowhere else. Destroying the row's key makes the pinned ciphertext unreadable.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Literal

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS publications (
    publication TEXT PRIMARY KEY,
    state       TEXT NOT NULL CHECK (state IN ('sealed', 'registered', 'offered', 'announced', 'withdrawn', 'failed')),
    content_key BLOB,
    draft       BLOB NOT NULL,
    record_ids  BLOB NOT NULL,
    dataset     INTEGER NOT NULL DEFAULT 0,
    offer_no    INTEGER NOT NULL DEFAULT 0,
    block       INTEGER NOT NULL DEFAULT 0,
    price_wei   TEXT NOT NULL DEFAULT '0',
    offer       TEXT NOT NULL DEFAULT '',
    created_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS publications_by_offer ON publications (offer);
CREATE INDEX IF NOT EXISTS publications_by_number ON publications (offer_no);
"""

State = Literal["sealed", "registered", "offered", "announced", "withdrawn", "failed"]


class Publication(msgspec.Struct, frozen=True):
    """An own offer on its way. `draft` and `record_ids` are JSON; `offer` is the item id once it is announced."""

    publication: str
    state: State
    content_key: bytes | None
    draft: bytes
    record_ids: bytes
    dataset: int
    offer_no: int
    block: int
    price_wei: str
    offer: str
    created_at: int


class Publications:
    """The store of own offers."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def begin(self, row: Publication) -> None:
        """Write a new publication with its content key, before anything of it is visible."""
        marks = ", ".join("?" for _ in Publication.__struct_fields__)
        values = msgspec.structs.astuple(row)
        await self._journal.write(lambda conn: conn.execute(f"INSERT INTO publications VALUES ({marks})", values))  # noqa: S608

    async def advance(self, publication: str, state: State, **fields: int | str) -> bool:
        """Move to `state` and set what became known; False, and nothing happens, when its key was destroyed."""
        names = [n for n in fields if n in Publication.__struct_fields__]
        sets = "".join(f", {n} = ?" for n in names)
        values = (state, *(fields[n] for n in names), publication)
        sql = f"UPDATE publications SET state = ?{sets} WHERE publication = ? AND content_key IS NOT NULL"  # noqa: S608 - names are checked above
        return bool(await self._journal.write(lambda conn: conn.execute(sql, values).rowcount))

    async def destroy_key(self, publication: str) -> None:
        """Forget the content key: what is pinned under it can never be read again."""
        sql = "UPDATE publications SET content_key = NULL WHERE publication = ?"
        await self._journal.write(lambda conn: conn.execute(sql, (publication,)))

    async def by_offer(self, offer: str) -> Publication | None:
        """The publication that was announced as item `offer`."""
        return await self._one("SELECT * FROM publications WHERE offer = ?", offer)

    async def by_number(self, offer_no: int) -> Publication | None:
        """The publication with this number in the KeySale contract."""
        return await self._one("SELECT * FROM publications WHERE offer_no = ? AND offer_no <> 0", offer_no)

    async def any_under_way(self) -> bool:
        """Whether an offer is on its way that has no item id yet, or had none when the journal was last written."""
        sql = "SELECT 1 FROM publications WHERE offer = '' AND content_key IS NOT NULL AND state <> 'failed' LIMIT 1"
        return await self._journal.read(lambda conn: conn.execute(sql).fetchone()) is not None

    async def containing(self, records: Collection[str]) -> list[Publication]:
        """The publications that still have their key and hold one of these records."""
        wanted = set(records)
        rows = [row for row in await self.all() if row.content_key is not None]
        return [row for row in rows if not wanted.isdisjoint(msgspec.json.decode(row.record_ids, type=list[str]))]

    async def all(self) -> list[Publication]:
        """Every publication, oldest first."""
        sql = "SELECT * FROM publications ORDER BY created_at, publication"
        rows = await self._journal.read(lambda conn: conn.execute(sql).fetchall())
        return [Publication(*row) for row in rows]

    async def _one(self, sql: str, value: str | int) -> Publication | None:
        def run(conn: sqlite3.Connection) -> Publication | None:
            row = conn.execute(sql, (value,)).fetchone()
            return None if row is None else Publication(*row)

        return await self._journal.read(run)
