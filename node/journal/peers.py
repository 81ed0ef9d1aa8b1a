"""Peers worth dialling again after a restart: reached lately, failing seldom.

`Peers` fits `node.network.PeerMemory`; neither package imports the other.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from node.journal.journal import Journal
from protocols.ids import PeerId

SCHEMA = """
CREATE TABLE IF NOT EXISTS peers (
    peer      TEXT PRIMARY KEY,
    addresses TEXT NOT NULL,
    met_at    INTEGER NOT NULL,
    failures  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS peers_by_worth ON peers (failures, met_at);
"""

KEPT = 500  # a node dials a few; the rest is for the day when the few are gone
FORGOTTEN_AFTER = 10  # failures in a row


class Peers:
    """The remembered peers."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def met(self, peer: PeerId, addresses: Sequence[str], now: int) -> None:
        """A peer of our network was reached; `now` in UTC seconds."""

        def run(conn: sqlite3.Connection) -> None:
            conn.execute(
                "INSERT INTO peers (peer, addresses, met_at) VALUES (?, ?, ?) ON CONFLICT (peer) DO UPDATE SET "
                "addresses = excluded.addresses, met_at = excluded.met_at, failures = 0",
                (peer, json.dumps(list(addresses)), now),
            )
            conn.execute(
                "DELETE FROM peers WHERE peer NOT IN (SELECT peer FROM peers ORDER BY failures, met_at DESC LIMIT ?)",
                (KEPT,),
            )

        await self._journal.write(run)

    async def failed(self, peer: PeerId) -> None:
        """A remembered peer could not be reached; after some failures in a row it is forgotten."""

        def run(conn: sqlite3.Connection) -> None:
            conn.execute("UPDATE peers SET failures = failures + 1 WHERE peer = ?", (peer,))
            conn.execute("DELETE FROM peers WHERE peer = ? AND failures >= ?", (peer, FORGOTTEN_AFTER))

        await self._journal.write(run)

    async def good(self, limit: int) -> list[tuple[PeerId, tuple[str, ...]]]:
        """The peers most worth dialling: fewest failures, then met last."""
        sql = "SELECT peer, addresses FROM peers ORDER BY failures, met_at DESC LIMIT ?"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (limit,)).fetchall())
        return [(PeerId(row["peer"]), tuple(json.loads(row["addresses"]))) for row in rows]

    async def forget(self, peer: PeerId) -> None:
        """Do not dial this one again."""
        await self._journal.write(lambda conn: conn.execute("DELETE FROM peers WHERE peer = ?", (peer,)))
