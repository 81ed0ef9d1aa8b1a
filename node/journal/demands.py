"""Own demands: the text of a want, which stays at home, beside the id under which its vector was published."""

from __future__ import annotations

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS demands (
    demand        TEXT PRIMARY KEY,
    text          TEXT NOT NULL,
    withdrawn     INTEGER NOT NULL DEFAULT 0,
    created_at    INTEGER NOT NULL,
    domain        TEXT NOT NULL DEFAULT '',
    max_price_wei TEXT NOT NULL DEFAULT '0'
) STRICT;
"""


class OwnDemand(msgspec.Struct, frozen=True):
    """`demand` is the item id; `created_at` UTC seconds."""

    demand: str
    text: str
    withdrawn: int
    created_at: int
    domain: str
    max_price_wei: int


class Demands:
    """The store of own demands."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def add(self, demand: str, text: str, domain: str, max_price_wei: int, now: int) -> None:
        """Remember the text of a published want."""
        sql = (
            "INSERT INTO demands (demand, text, created_at, domain, max_price_wei) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING"
        )
        await self._journal.write(lambda conn: conn.execute(sql, (demand, text, now, domain, str(max_price_wei))))

    async def withdraw(self, demand: str) -> None:
        """Mark a want as withdrawn."""
        sql = "UPDATE demands SET withdrawn = 1 WHERE demand = ?"
        await self._journal.write(lambda conn: conn.execute(sql, (demand,)))

    async def all(self) -> list[OwnDemand]:
        """Every own demand, oldest first."""
        sql = "SELECT * FROM demands ORDER BY created_at, demand"
        rows = await self._journal.read(lambda conn: conn.execute(sql).fetchall())
        return [_own(*row) for row in rows]

    async def standing(self, domain: str, since: int) -> list[OwnDemand]:
        """The wants of a domain posted since a time (UTC seconds) and not taken back, open or over, oldest first."""
        return [
            one for one in await self.all() if one.domain == domain and one.created_at >= since and not one.withdrawn
        ]


def _own(demand: str, text: str, withdrawn: int, created_at: int, domain: str, max_price_wei: str) -> OwnDemand:
    return OwnDemand(demand, text, withdrawn, created_at, domain, int(max_price_wei))
