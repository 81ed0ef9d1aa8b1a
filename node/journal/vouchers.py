"""Vouchers: the newest one of every lane, of those we signed (`promises`) and those we hold (`takings`).

Only the newest voucher of a lane counts, so a row is replaced, never below what it said before. Amounts are decimal
texts in base units, because SQLite's integers end at 64 bits; lanes are texts for the same reason.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from node.journal.journal import Journal
from protocols.voucher import Voucher

SCHEMA = """
CREATE TABLE IF NOT EXISTS voucher_promises (
    payer          TEXT NOT NULL,
    payee          TEXT NOT NULL,
    lane           TEXT NOT NULL,
    cumulative_wei TEXT NOT NULL,
    received_wei   TEXT NOT NULL DEFAULT '0',
    signature      BLOB NOT NULL,
    signer         TEXT NOT NULL,
    updated_at     INTEGER NOT NULL,
    PRIMARY KEY (payer, payee, lane)
) STRICT;
CREATE TABLE IF NOT EXISTS voucher_takings (
    payer          TEXT NOT NULL,
    payee          TEXT NOT NULL,
    lane           TEXT NOT NULL,
    cumulative_wei TEXT NOT NULL,
    settled_wei    TEXT NOT NULL DEFAULT '0',
    signature      BLOB NOT NULL,
    signer         TEXT NOT NULL,
    since          INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    PRIMARY KEY (payee, lane, payer)
) STRICT;
CREATE INDEX IF NOT EXISTS takings_by_payer ON voucher_takings (payer);
CREATE TABLE IF NOT EXISTS voucher_spending (
    place   INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    amount_wei TEXT NOT NULL,
    what    TEXT NOT NULL UNIQUE
) STRICT;
CREATE INDEX IF NOT EXISTS spending_by_time ON voucher_spending (at);
"""

DAY_S = 86_400

T = TypeVar("T")


class Promise(msgspec.Struct, frozen=True):
    """The newest voucher we signed on a lane; `received_wei` of it were answered with service."""

    payer: str
    payee: str
    lane: int
    cumulative_wei: int
    received_wei: int
    signature: bytes
    signer: str
    updated_at: int

    @property
    def voucher(self) -> Voucher:
        """To be sent again."""
        return Voucher(
            payer=self.payer,
            payee=self.payee,
            lane=self.lane,
            cumulative_wei=str(self.cumulative_wei),
            signature=self.signature,
        )


class Taking(msgspec.Struct, frozen=True):
    """The newest voucher we hold on a lane; `settled_wei` of it is on chain. `since`: the oldest unsettled one came.

    `signer` is the payer, a hot key of his, or "" when the payer is a contract that knows the signature (ERC-1271).
    """

    payer: str
    payee: str
    lane: int
    cumulative_wei: int
    settled_wei: int
    signature: bytes
    signer: str
    since: int
    updated_at: int

    @property
    def by_contract(self) -> bool:
        return not self.signer

    @property
    def voucher(self) -> Voucher:
        """As it came."""
        return Voucher(
            payer=self.payer,
            payee=self.payee,
            lane=self.lane,
            cumulative_wei=str(self.cumulative_wei),
            signature=self.signature,
        )

    @property
    def due_wei(self) -> int:
        return max(0, self.cumulative_wei - self.settled_wei)


class Promises:
    """The store of a payer."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def get(self, payer: str, payee: str, lane: int) -> Promise | None:
        """The newest voucher of a lane, or None."""
        return await self._journal.read(lambda conn: promise(conn, payer, payee, lane))

    async def every(self, payer: str) -> list[Promise]:
        """The newest voucher of each lane, the latest first."""
        sql = "SELECT * FROM voucher_promises WHERE payer = ? ORDER BY updated_at DESC"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (payer,)).fetchall())
        return [_promise(row) for row in rows]

    async def change(self, work: Callable[[sqlite3.Connection], Promise]) -> Promise:
        """Decide and write in one transaction: `work` may read with `promise` and must write with `put_promise`."""
        return await self._journal.write(work)

    async def received(self, payer: str, payee: str, lane: int) -> None:
        """All that was promised on a lane has been answered."""
        sql = "UPDATE voucher_promises SET received_wei = cumulative_wei WHERE payer = ? AND payee = ? AND lane = ?"
        await self._journal.write(lambda conn: conn.execute(sql, (payer, payee, str(lane))))


class Takings:
    """The store of a payee."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def of_payer(self, payer: str) -> list[Taking]:
        """Every lane on which we hold a payer's voucher."""
        return await self._journal.read(lambda conn: takings_of(conn, payer))

    async def every(self) -> list[Taking]:
        """Every lane we hold a voucher of, the latest first."""
        sql = "SELECT * FROM voucher_takings ORDER BY updated_at DESC"
        rows = await self._journal.read(lambda conn: conn.execute(sql).fetchall())
        return [_taking(row) for row in rows]

    async def pending(self) -> list[Taking]:
        """Every lane with money that is not on chain yet, the oldest first."""
        rows = await self._journal.read(
            lambda conn: conn.execute(
                "SELECT * FROM voucher_takings WHERE cumulative_wei <> settled_wei ORDER BY since"
            ).fetchall()
        )
        return [taking for taking in map(_taking, rows) if taking.due_wei]

    async def change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Decide and write in one transaction: `work` may read with `takings_of` and must write with `put_taking`."""
        return await self._journal.write(work)

    async def settled(self, paid: Iterable[tuple[str, str, int, int]], now: int) -> None:
        """Note what the chain has paid: (payer, payee, lane, sum). A sum never falls, and `since` begins anew."""
        rows = list(paid)

        def run(conn: sqlite3.Connection) -> None:
            for payer, payee, lane, sum_wei in rows:
                held = taking(conn, payer, payee, lane)
                if held is not None and sum_wei > held.settled_wei:
                    put_taking(conn, msgspec.structs.replace(held, settled_wei=sum_wei, since=now))

        await self._journal.write(run)

    async def settled_since(self, at: int, limit: int) -> list[Taking]:
        """Lanes that were settled since a time (UTC seconds), or raised after it; the latest first."""
        sql = "SELECT * FROM voucher_takings WHERE since >= ? AND settled_wei <> '0' ORDER BY since DESC LIMIT ?"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (at, limit)).fetchall())
        return [_taking(row) for row in rows]

    async def undone(self, paid: Iterable[tuple[str, str, int, int]]) -> list[Taking]:
        """Note that settlements were taken back: (payer, payee, lane, what the chain says now); the lanes that fell."""
        rows = list(paid)

        def run(conn: sqlite3.Connection) -> list[Taking]:
            fallen = []
            for payer, payee, lane, sum_wei in rows:
                held = taking(conn, payer, payee, lane)
                if held is not None and sum_wei < held.settled_wei:
                    fallen.append(msgspec.structs.replace(held, settled_wei=sum_wei))
                    put_taking(conn, fallen[-1])
            return fallen

        return await self._journal.write(run)


def promise(conn: sqlite3.Connection, payer: str, payee: str, lane: int) -> Promise | None:
    sql = "SELECT * FROM voucher_promises WHERE payer = ? AND payee = ? AND lane = ?"
    row = conn.execute(sql, (payer, payee, str(lane))).fetchone()
    return None if row is None else _promise(row)


def promised_total(conn: sqlite3.Connection, payer: str) -> dict[tuple[str, int], int]:
    """The sum of every lane, by (payee, lane)."""
    sql = "SELECT payee, lane, cumulative_wei FROM voucher_promises WHERE payer = ?"
    return {(row[0], int(row[1])): int(row[2]) for row in conn.execute(sql, (payer,))}


def put_promise(conn: sqlite3.Connection, new: Promise) -> None:
    conn.execute(
        "INSERT INTO voucher_promises VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (payer, payee, lane) DO UPDATE SET "
        "cumulative_wei = excluded.cumulative_wei, received_wei = excluded.received_wei, "
        "signature = excluded.signature, signer = excluded.signer, updated_at = excluded.updated_at",
        (
            new.payer,
            new.payee,
            str(new.lane),
            str(new.cumulative_wei),
            str(new.received_wei),
            new.signature,
            new.signer,
            new.updated_at,
        ),
    )


def taking(conn: sqlite3.Connection, payer: str, payee: str, lane: int) -> Taking | None:
    sql = "SELECT * FROM voucher_takings WHERE payee = ? AND lane = ? AND payer = ?"
    row = conn.execute(sql, (payee, str(lane), payer)).fetchone()
    return None if row is None else _taking(row)


def takings_of(conn: sqlite3.Connection, payer: str) -> list[Taking]:
    rows = conn.execute("SELECT * FROM voucher_takings WHERE payer = ?", (payer,)).fetchall()
    return [_taking(row) for row in rows]


def put_taking(conn: sqlite3.Connection, new: Taking) -> None:
    conn.execute(
        "INSERT INTO voucher_takings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (payee, lane, payer) DO UPDATE SET "
        "cumulative_wei = excluded.cumulative_wei, settled_wei = excluded.settled_wei, "
        "signature = excluded.signature, signer = excluded.signer, since = excluded.since, "
        "updated_at = excluded.updated_at",
        (
            new.payer,
            new.payee,
            str(new.lane),
            str(new.cumulative_wei),
            str(new.settled_wei),
            new.signature,
            new.signer,
            new.since,
            new.updated_at,
        ),
    )


def spend(conn: sqlite3.Connection, what: str, amount_wei: int, limit_wei: int, now: int) -> int:
    """Count a spending once under the name `what`; returns by how much the day's limit would be passed, 0 if it holds.

    Nothing is written when it would be passed.
    """
    if conn.execute("SELECT 1 FROM voucher_spending WHERE what = ?", (what,)).fetchone():
        return 0
    conn.execute("DELETE FROM voucher_spending WHERE at < ?", (now - 2 * DAY_S,))
    rows = conn.execute("SELECT amount_wei FROM voucher_spending WHERE at > ?", (now - DAY_S,)).fetchall()
    over = sum(int(row[0]) for row in rows) + amount_wei - limit_wei
    if over > 0:
        return over
    conn.execute("INSERT INTO voucher_spending (at, amount_wei, what) VALUES (?, ?, ?)", (now, str(amount_wei), what))
    return 0


def _promise(row: sqlite3.Row) -> Promise:
    fields = dict(row)
    whole = {name: int(fields[name]) for name in ("lane", "cumulative_wei", "received_wei")}
    return Promise(**{**fields, **whole})


def _taking(row: sqlite3.Row) -> Taking:
    fields = dict(row)
    whole = {name: int(fields[name]) for name in ("lane", "cumulative_wei", "settled_wei")}
    return Taking(**{**fields, **whole})
