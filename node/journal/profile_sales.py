"""What was sold of profiles, and for whom: each purchase once, each edition once to each payer.

A sale is looked up, judged and written in one transaction with the consent it needs (`node.journal.profiles`), so that
nothing is charged after the owner took his consent back.
"""

from __future__ import annotations

import sqlite3
from typing import Literal

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS profile_sales (
    payer    TEXT NOT NULL,
    query    BLOB NOT NULL,
    peer     TEXT NOT NULL,
    domain   TEXT NOT NULL,
    digest   BLOB NOT NULL,
    cost_wei TEXT NOT NULL,
    repeats  INTEGER NOT NULL DEFAULT 0,
    at       INTEGER NOT NULL,
    PRIMARY KEY (payer, query)
) STRICT;
CREATE INDEX IF NOT EXISTS profile_sales_by_domain ON profile_sales (domain, at);
CREATE TABLE IF NOT EXISTS profile_accounts (
    payer      TEXT PRIMARY KEY,
    served_wei TEXT NOT NULL
) STRICT;
"""

MAX_REPEATS = 3  # an answer that was lost three times is not lost by accident

Outcome = Literal["charged", "repeat", "unpaid", "over", "stale", "conflict", "worn_out"]


class Sale(msgspec.Struct, frozen=True):
    """A purchase as the seller knows it; `query` is the buyer's id."""

    payer: str
    query: bytes
    peer: str
    domain: str
    digest: bytes
    cost_wei: int


class ProfileSales:
    """The store of a seller."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def charge(self, sale: Sale, *, paid_wei: int, now: int) -> Outcome:
        """Charge a purchase once, and an edition once to each payer: he may have lost his journal.

        `paid_wei` is the sum of the payer's newest voucher; only `charged` and `repeat` are served. `over`: the consent
        has ended; `stale`: that edition is not kept any more.
        """

        def run(conn: sqlite3.Connection) -> Outcome:
            sql = "SELECT 1 FROM profile_consents WHERE domain = ? AND ended_at = 0"
            if conn.execute(sql, (sale.domain,)).fetchone() is None:
                return "over"
            sql = "SELECT * FROM profile_sales WHERE payer = ? AND (query = ? OR digest = ?) ORDER BY query = ? DESC"
            values = (sale.payer, sale.query, sale.digest, sale.query)
            known = conn.execute(sql, values).fetchone()
            if known is not None:
                return _repeat(conn, sale, known)
            if not conn.execute("SELECT 1 FROM profile_editions WHERE digest = ?", (sale.digest,)).fetchone():
                return "stale"
            account = conn.execute("SELECT served_wei FROM profile_accounts WHERE payer = ?", (sale.payer,)).fetchone()
            # a first voucher that is worth more was paid for what an older journal knew
            served_wei = int(account[0]) if account else max(0, paid_wei - sale.cost_wei)
            if paid_wei - served_wei < sale.cost_wei:
                return "unpaid"
            conn.execute(
                "INSERT INTO profile_sales VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
                (sale.payer, sale.query, sale.peer, sale.domain, sale.digest, str(sale.cost_wei), now),
            )
            sum_wei = str(served_wei + sale.cost_wei)
            conn.execute("INSERT OR REPLACE INTO profile_accounts VALUES (?, ?)", (sale.payer, sum_wei))
            return "charged"

        return await self._journal.write(run)

    async def served(self, payer: str) -> int:
        """What a payer was served for, ever, in base units."""
        return await self._journal.read(lambda conn: _served(conn, payer))

    async def sold(self, domain: str) -> tuple[int, int]:
        """How often the profile of a domain was sold, and for how much altogether."""
        sql = "SELECT cost_wei FROM profile_sales WHERE domain = ?"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (domain,)).fetchall())
        return len(rows), sum(int(row[0]) for row in rows)


def _served(conn: sqlite3.Connection, payer: str) -> int:
    row = conn.execute("SELECT served_wei FROM profile_accounts WHERE payer = ?", (payer,)).fetchone()
    return 0 if row is None else int(row[0])


def _repeat(conn: sqlite3.Connection, sale: Sale, known: sqlite3.Row) -> Outcome:
    if (known["domain"], known["peer"]) != (sale.domain, sale.peer):
        return "conflict"
    if known["repeats"] >= MAX_REPEATS:
        return "worn_out"
    sql = "UPDATE profile_sales SET repeats = repeats + 1 WHERE payer = ? AND query = ?"
    conn.execute(sql, (sale.payer, known["query"]))
    return "repeat"
