"""Purchases and sales in progress: one row a deal, written before each step, and the steps as they came.

`machine` is the serialised state of the sans-I/O machine (protocols/exchange/machine.py): with it a restarted node goes
on where the killed one stood. It holds one-time keys, so it never leaves the journal.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Literal

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS deals (
    deal       TEXT PRIMARY KEY,
    role       TEXT NOT NULL CHECK (role IN ('buyer', 'seller')),
    offer      TEXT NOT NULL,
    sale       TEXT NOT NULL DEFAULT '',
    state      TEXT NOT NULL,
    over       INTEGER NOT NULL DEFAULT 0,
    reason     TEXT NOT NULL DEFAULT '',
    machine    BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS deals_by_sale ON deals (role, sale) WHERE sale <> '';
CREATE INDEX IF NOT EXISTS deals_open ON deals (role, over);
CREATE TABLE IF NOT EXISTS deal_steps (
    deal  TEXT NOT NULL REFERENCES deals (deal),
    seq   INTEGER NOT NULL,
    state TEXT NOT NULL,
    at    INTEGER NOT NULL,
    PRIMARY KEY (deal, seq)
) STRICT;
"""

Role = Literal["buyer", "seller"]


class Deal(msgspec.Struct, frozen=True):
    """One purchase or sale. `over` is 1 in a terminal state; times are UTC seconds."""

    deal: str
    role: Role
    offer: str
    sale: str
    state: str
    over: int
    reason: str
    machine: bytes
    created_at: int
    updated_at: int


class Step(msgspec.Struct, frozen=True):
    """A state a deal went through."""

    state: str
    at: int


class Deals:
    """The store of deals."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def save(self, deal: Deal) -> None:
        """Insert or update a deal; a new state is appended to its steps in the same transaction."""

        def run(conn: sqlite3.Connection) -> None:
            known = conn.execute("SELECT state FROM deals WHERE deal = ?", (deal.deal,)).fetchone()
            conn.execute(
                "INSERT INTO deals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (deal) DO UPDATE SET "
                "sale = excluded.sale, state = excluded.state, over = excluded.over, reason = excluded.reason, "
                "machine = excluded.machine, updated_at = excluded.updated_at",
                msgspec.structs.astuple(deal),
            )
            if known is None or known[0] != deal.state:
                conn.execute(
                    "INSERT INTO deal_steps SELECT ?, count(*), ?, ? FROM deal_steps WHERE deal = ?",
                    (deal.deal, deal.state, deal.updated_at, deal.deal),
                )

        await self._journal.write(run)

    async def get(self, deal: str) -> Deal | None:
        """One deal."""
        return await self._one("SELECT * FROM deals WHERE deal = ?", (deal,))

    async def by_sale(self, role: Role, sale: str) -> Deal | None:
        """The deal about an on-chain sale."""
        return await self._one("SELECT * FROM deals WHERE role = ? AND sale = ?", (role, sale))

    async def of_offer(self, role: Role, offer: str) -> list[Deal]:
        """The deals about an offer, oldest first; none about '', which is not announced yet."""
        sql = "SELECT * FROM deals WHERE role = ? AND offer = ? AND offer <> '' ORDER BY created_at, deal"
        return await self._rows(sql, (role, offer))

    async def unfinished(self, role: Role) -> list[Deal]:
        """What a restart has to go on with."""
        return await self._rows("SELECT * FROM deals WHERE role = ? AND over = 0 ORDER BY created_at", (role,))

    async def about(self, role: Role, offer_no: int) -> list[Deal]:
        """The deals about the contract's offer of this number: a sale's id begins with it."""
        sql = "SELECT deal, sale FROM deals WHERE role = ? AND sale <> ''"
        pairs = await self._journal.read(lambda conn: conn.execute(sql, (role,)).fetchall())
        found = [await self.get(deal) for deal, sale in pairs if int(sale) >> 64 == offer_no]
        return [deal for deal in found if deal is not None]

    async def in_state(self, role: Role, states: Collection[str], since: int = 0) -> list[Deal]:
        """The deals that stand in one of these states, and were changed since a time."""
        marks = ", ".join("?" for _ in states)
        sql = f"SELECT * FROM deals WHERE role = ? AND updated_at >= ? AND state IN ({marks}) ORDER BY created_at"  # noqa: S608
        return await self._rows(sql, (role, since, *states))

    async def newest(self, limit: int) -> list[Deal]:
        """Newest first."""
        return await self._rows("SELECT * FROM deals ORDER BY created_at DESC, deal LIMIT ?", (limit,))

    async def steps(self, deal: str) -> list[Step]:
        """The states a deal went through, in order."""
        sql = "SELECT state, at FROM deal_steps WHERE deal = ? ORDER BY seq"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (deal,)).fetchall())
        return [Step(*row) for row in rows]

    async def _one(self, sql: str, values: tuple[str, ...]) -> Deal | None:
        rows = await self._rows(sql, values)
        return rows[0] if rows else None

    async def _rows(self, sql: str, values: tuple[str | int, ...]) -> list[Deal]:
        rows = await self._journal.read(lambda conn: conn.execute(sql, values).fetchall())
        return [Deal(*row) for row in rows]
