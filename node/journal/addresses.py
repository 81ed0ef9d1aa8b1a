"""The contracts this node works with, as the network's directory named them when it first asked."""

from __future__ import annotations

from collections.abc import Mapping

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS contract_addresses (
    directory TEXT NOT NULL,
    name      TEXT NOT NULL,
    address   TEXT NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (directory, name)
) STRICT;
"""


class AddressBook:
    """The store of what one directory has told us."""

    def __init__(self, journal: Journal, directory: str) -> None:
        self._journal = journal
        self._directory = directory

    async def all(self) -> dict[str, str]:
        """Addresses by short name."""
        sql = "SELECT name, address FROM contract_addresses WHERE directory = ?"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (self._directory,)).fetchall())
        return {row["name"]: row["address"] for row in rows}

    async def put(self, addresses: Mapping[str, str], now: int) -> None:
        """Remember; a name that is known gets the new address."""
        sql = (
            "INSERT INTO contract_addresses VALUES (?, ?, ?, ?) ON CONFLICT (directory, name) DO UPDATE SET "
            "address = excluded.address, at = excluded.at"
        )
        rows = [(self._directory, name, address, now) for name, address in addresses.items()]
        await self._journal.write(lambda conn: conn.executemany(sql, rows))
