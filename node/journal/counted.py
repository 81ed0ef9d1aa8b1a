"""What this node has brought to the Reputation contract: one row a fact, so that nothing is brought twice by it."""

from __future__ import annotations

from collections.abc import Collection

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS counted (
    fact TEXT PRIMARY KEY
) STRICT;
"""


class Counted:
    """The store of facts, by name: `sale:<id>`, `fault:<offer number>`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def add(self, facts: Collection[str]) -> None:
        """Remember that these are counted on chain."""
        sql = "INSERT OR IGNORE INTO counted VALUES (?)"
        rows = [(fact,) for fact in facts]
        await self._journal.write(lambda conn: conn.executemany(sql, rows))

    async def has(self, fact: str) -> bool:
        """Whether it was brought."""
        sql = "SELECT 1 FROM counted WHERE fact = ?"
        return await self._journal.read(lambda conn: conn.execute(sql, (fact,)).fetchone()) is not None

    async def sales_left(self, limit: int) -> list[str]:
        """Paid sales of this seller that were not brought yet, the oldest first."""
        sql = (
            "SELECT sale FROM deals WHERE role = 'seller' AND state = 'paid' "
            "AND 'sale:' || sale NOT IN (SELECT fact FROM counted) ORDER BY created_at, sale LIMIT ?"
        )
        rows = await self._journal.read(lambda conn: conn.execute(sql, (limit,)).fetchall())
        return [str(row[0]) for row in rows]
