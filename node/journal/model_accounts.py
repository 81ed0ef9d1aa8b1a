"""What a provider served for whom: a payer's account with each model, and the requests that were charged lately.

A request is charged before it is computed, and once: after a crash in between, the same request is answered without
being charged again. Amounts are decimal texts, because SQLite's integers end at 64 bits.
"""

from __future__ import annotations

import sqlite3
from typing import Literal

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS model_accounts (
    model      TEXT NOT NULL,
    payer      TEXT NOT NULL,
    served_wei TEXT NOT NULL,
    calls      INTEGER NOT NULL,
    units      INTEGER NOT NULL,
    PRIMARY KEY (model, payer)
) STRICT;
CREATE TABLE IF NOT EXISTS model_served (
    model   TEXT NOT NULL,
    payer   TEXT NOT NULL,
    request BLOB NOT NULL,
    content BLOB NOT NULL,
    repeats INTEGER NOT NULL DEFAULT 0,
    at      INTEGER NOT NULL,
    PRIMARY KEY (model, payer, request)
) STRICT;
CREATE INDEX IF NOT EXISTS model_served_by_time ON model_served (at);
"""

SERVED_KEPT_S = 3_600  # how long a consumer may repeat a request for nothing
MAX_REPEATS = 5  # and how often: an answer that was lost five times is not lost by accident

Outcome = Literal["charged", "repeat", "unpaid", "conflict", "worn_out"]


class Request(msgspec.Struct, frozen=True):
    """A request on an account: its id, the hash of its content, what it costs."""

    model: str
    payer: str
    id: bytes
    content: bytes
    cost_wei: int
    units: int


class Account(msgspec.Struct, frozen=True):
    """What a payer was served for with one model, ever."""

    served_wei: int = 0
    calls: int = 0
    units: int = 0


class ModelAccounts:
    """The store of a provider's accounts."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def charge(self, request: Request, *, paid_wei: int, now: int) -> tuple[Outcome, Account]:
        """Charge a request once. `paid_wei` is the sum of the payer's newest voucher; only `charged` and `repeat`
        are served.
        """

        def run(conn: sqlite3.Connection) -> tuple[Outcome, Account]:
            account = _account(conn, request.model, request.payer)
            conn.execute("DELETE FROM model_served WHERE at < ?", (now - SERVED_KEPT_S,))
            known = conn.execute(
                "SELECT content, repeats FROM model_served WHERE model = ? AND payer = ? AND request = ?",
                (request.model, request.payer, request.id),
            ).fetchone()
            if known is not None:
                return _repeat(conn, request, known[0], known[1]), account
            if paid_wei - account.served_wei < request.cost_wei:
                return "unpaid", account
            return "charged", _charge(conn, request, account, now)

        return await self._journal.write(run)

    async def of(self, model: str, payer: str) -> Account:
        """A payer's account with a model."""
        return await self._journal.read(lambda conn: _account(conn, model, payer))

    async def takings(self, model: str) -> tuple[int, Account]:
        """How many payers a model has served, and the sum of their accounts."""
        sql = "SELECT served_wei, calls, units FROM model_accounts WHERE model = ?"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (model,)).fetchall())
        whole = Account(sum(int(row[0]) for row in rows), sum(row[1] for row in rows), sum(row[2] for row in rows))
        return len(rows), whole


def _account(conn: sqlite3.Connection, model: str, payer: str) -> Account:
    sql = "SELECT served_wei, calls, units FROM model_accounts WHERE model = ? AND payer = ?"
    row = conn.execute(sql, (model, payer)).fetchone()
    return Account() if row is None else Account(int(row[0]), row[1], row[2])


def _charge(conn: sqlite3.Connection, request: Request, account: Account, now: int) -> Account:
    after = Account(account.served_wei + request.cost_wei, account.calls + 1, account.units + request.units)
    conn.execute(
        "INSERT INTO model_served (model, payer, request, content, at) VALUES (?, ?, ?, ?, ?)",
        (request.model, request.payer, request.id, request.content, now),
    )
    conn.execute(
        "INSERT OR REPLACE INTO model_accounts VALUES (?, ?, ?, ?, ?)",
        (request.model, request.payer, str(after.served_wei), after.calls, after.units),
    )
    return after


def _repeat(conn: sqlite3.Connection, request: Request, content: bytes, repeats: int) -> Outcome:
    if content != request.content:
        return "conflict"
    if repeats >= MAX_REPEATS:
        return "worn_out"
    conn.execute(
        "UPDATE model_served SET repeats = repeats + 1 WHERE model = ? AND payer = ? AND request = ?",
        (request.model, request.payer, request.id),
    )
    return "repeat"
