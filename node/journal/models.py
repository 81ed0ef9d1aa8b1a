"""Own models: one row each, from training to publication. The card is fixed here before anybody can see any of it."""

from __future__ import annotations

import sqlite3
from typing import Literal

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS models (
    model        TEXT PRIMARY KEY,
    domain       TEXT NOT NULL,
    task         TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('trained', 'publishing', 'published')),
    artifact     BLOB NOT NULL,
    price_wei    TEXT NOT NULL DEFAULT '0',
    card         BLOB,
    cid          TEXT NOT NULL DEFAULT '',
    item         TEXT NOT NULL DEFAULT '',
    created_at   INTEGER NOT NULL,
    published_at INTEGER NOT NULL DEFAULT 0
) STRICT;
"""

State = Literal["trained", "publishing", "published"]


class ModelRow(msgspec.Struct, frozen=True):
    """One own model. `card` is the signed body once it is being published, `item` its id in the catalogue."""

    model: str
    domain: str
    task: str
    state: State
    artifact: bytes
    price_wei: str = "0"
    card: bytes | None = None
    cid: str = ""
    item: str = ""
    created_at: int = 0
    published_at: int = 0


class Models:
    """The store of own models."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def keep(self, row: ModelRow) -> None:
        """A freshly trained model. One that is already being published stays as it is."""
        marks = ", ".join("?" for _ in ModelRow.__struct_fields__)
        await self._journal.write(
            lambda conn: conn.execute(
                f"INSERT OR IGNORE INTO models VALUES ({marks})",  # noqa: S608 - only question marks
                msgspec.structs.astuple(row),
            )
        )

    async def publishing(self, model: str, card: bytes, price_wei: int) -> ModelRow:
        """Fix the card before anything of it is visible; a second call keeps the first card."""

        def run(conn: sqlite3.Connection) -> ModelRow:
            conn.execute(
                "UPDATE models SET state = 'publishing', card = ?, price_wei = ? WHERE model = ? AND state = 'trained'",
                (card, str(price_wei), model),
            )
            return _row(conn, model)

        return await self._journal.write(run)

    async def published(self, model: str, cid: str, item: str, now: int) -> ModelRow:
        """The model stands on chain and its card has been told."""

        def run(conn: sqlite3.Connection) -> ModelRow:
            conn.execute(
                "UPDATE models SET state = 'published', cid = ?, item = ?, published_at = ? WHERE model = ?",
                (cid, item, now, model),
            )
            return _row(conn, model)

        return await self._journal.write(run)

    async def renewed(self, model: str, card: bytes, item: str) -> None:
        """The card was told again with a new date."""
        sql = "UPDATE models SET card = ?, item = ? WHERE model = ?"
        await self._journal.write(lambda conn: conn.execute(sql, (card, item, model)))

    async def get(self, model: str) -> ModelRow | None:
        """One own model."""
        sql = "SELECT * FROM models WHERE model = ?"
        row = await self._journal.read(lambda conn: conn.execute(sql, (model,)).fetchone())
        return None if row is None else ModelRow(*row)

    async def all(self) -> list[ModelRow]:
        """Every own model, newest first."""
        sql = "SELECT * FROM models ORDER BY created_at DESC, model"
        return [ModelRow(*row) for row in await self._journal.read(lambda conn: conn.execute(sql).fetchall())]


def _row(conn: sqlite3.Connection, model: str) -> ModelRow:
    return ModelRow(*conn.execute("SELECT * FROM models WHERE model = ?", (model,)).fetchone())
