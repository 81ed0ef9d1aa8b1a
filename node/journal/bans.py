"""Peers that are refused for a while; `Bans` fits the network's `BanMemory`, neither package imports the other.

A ban that is over stays until its peer has been clean for a week: the next one is longer for it.
"""

from __future__ import annotations

import sqlite3
from typing import Protocol

from node.journal.journal import Journal
from protocols.ids import PeerId

SCHEMA = """
CREATE TABLE IF NOT EXISTS bans (
    peer      TEXT PRIMARY KEY,
    reason    TEXT NOT NULL,
    banned_at INTEGER NOT NULL,
    ends_at   INTEGER NOT NULL,
    times     INTEGER NOT NULL
) STRICT;
"""

KEPT = 4_096
KEPT_AFTER_S = 7 * 24 * 3_600


class Ban(Protocol):
    """One of `node.network.guard.conduct`; times in UTC seconds."""

    @property
    def peer(self) -> PeerId: ...
    @property
    def reason(self) -> str: ...
    @property
    def banned_at(self) -> int: ...
    @property
    def ends_at(self) -> int: ...
    @property
    def times(self) -> int: ...


class Bans:
    """The remembered bans."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def remember(self, ban: Ban) -> None:
        """Keep a ban in place of the peer's last one; the oldest of too many go."""

        def run(conn: sqlite3.Connection) -> None:
            conn.execute("DELETE FROM bans WHERE ends_at < ?", (ban.banned_at - KEPT_AFTER_S,))
            conn.execute(
                "INSERT OR REPLACE INTO bans (peer, reason, banned_at, ends_at, times) VALUES (?, ?, ?, ?, ?)",
                (ban.peer, ban.reason, ban.banned_at, ban.ends_at, ban.times),
            )
            conn.execute(
                "DELETE FROM bans WHERE peer NOT IN (SELECT peer FROM bans ORDER BY banned_at DESC LIMIT ?)", (KEPT,)
            )

        await self._journal.write(run)

    async def forget(self, peer: PeerId) -> None:
        """The operator has lifted a ban."""
        await self._journal.write(lambda conn: conn.execute("DELETE FROM bans WHERE peer = ?", (peer,)))

    async def all(self) -> list[tuple[PeerId, str, int, int, int]]:
        """Peer, reason, beginning, end, times; the latest at the end."""
        sql = "SELECT peer, reason, banned_at, ends_at, times FROM bans ORDER BY banned_at"
        rows = await self._journal.read(lambda conn: conn.execute(sql).fetchall())
        return [(PeerId(row["peer"]), row["reason"], row["banned_at"], row["ends_at"], row["times"]) for row in rows]
