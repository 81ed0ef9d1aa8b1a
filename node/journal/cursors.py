"""How far each follower of the chain has read: a name and a JSON value."""

from __future__ import annotations

from typing import Any

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS cursors (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
"""


class Cursors:
    """The store of cursors."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def get(self, name: str) -> dict[str, Any]:
        """The cursor as it was last set; empty at first."""
        sql = "SELECT value FROM cursors WHERE name = ?"
        row = await self._journal.read(lambda conn: conn.execute(sql, (name,)).fetchone())
        return {} if row is None else msgspec.json.decode(row[0], type=dict[str, Any])

    async def set(self, name: str, value: dict[str, Any]) -> None:
        """Replace a cursor."""
        sql = "INSERT INTO cursors VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        values = (name, msgspec.json.encode(value))
        await self._journal.write(lambda conn: conn.execute(sql, values))
