"""Transactions to the chain: one row a money step, and every signed form of it, written before it is sent.

The `key` names the step ("deal:…:lock"). A step has one nonce at a time; its attempts are the signed transactions that
were ever made for it. States:

    open      signed under `nonce`; it may be mined at any moment
    done      mined and final; `receipt` holds what the endpoint said
    reverted  mined, refused by the contract, final
    lost      its nonce was used by another transaction of this wallet: none of its attempts can be mined any more
    refused   the endpoint would not take it
"""

from __future__ import annotations

import sqlite3
from typing import Literal

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS transactions (
    key        TEXT PRIMARY KEY,
    sender     TEXT NOT NULL,
    target     TEXT NOT NULL,
    data       BLOB NOT NULL,
    value_wei  TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('open', 'done', 'reverted', 'lost', 'refused')),
    nonce      INTEGER NOT NULL,
    gas        INTEGER NOT NULL,
    hash       TEXT NOT NULL,
    receipt    BLOB,
    note       TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS transactions_open ON transactions (sender, nonce) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS transactions_by_time ON transactions (created_at);
CREATE INDEX IF NOT EXISTS transactions_by_end ON transactions (updated_at);
CREATE TABLE IF NOT EXISTS transaction_attempts (
    hash        TEXT PRIMARY KEY,
    key         TEXT NOT NULL REFERENCES transactions (key),
    nonce       INTEGER NOT NULL,
    raw         BLOB NOT NULL,
    tip_wei     TEXT NOT NULL,
    max_fee_wei TEXT NOT NULL,
    at_block    INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS attempts_by_key ON transaction_attempts (key);
"""

State = Literal["open", "done", "reverted", "lost", "refused"]


class Step(msgspec.Struct, frozen=True):
    """One money step. `hash` is its newest attempt, or the mined one; `receipt` is the endpoint's JSON."""

    key: str
    sender: str
    target: str
    data: bytes
    value_wei: str
    state: State
    nonce: int
    gas: int
    hash: str
    receipt: bytes | None
    note: str
    created_at: int
    updated_at: int


class Attempt(msgspec.Struct, frozen=True):
    """One signed form of a step; `at_block` is the newest block when it was signed."""

    hash: str
    key: str
    nonce: int
    raw: bytes
    tip_wei: str
    max_fee_wei: str
    at_block: int
    created_at: int


class Transactions:
    """The store of money steps."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def get(self, key: str) -> Step | None:
        """One step, or None."""
        row = await self._journal.read(
            lambda conn: conn.execute("SELECT * FROM transactions WHERE key = ?", (key,)).fetchone()
        )
        return None if row is None else Step(**dict(row))

    async def attempts(self, key: str) -> list[Attempt]:
        """Every signed form of a step, the oldest first."""
        sql = "SELECT * FROM transaction_attempts WHERE key = ? ORDER BY rowid"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (key,)).fetchall())
        return [Attempt(**dict(row)) for row in rows]

    async def owner(self, transaction: str) -> str | None:
        """The key of the step that a signed transaction belongs to, or None."""
        sql = "SELECT key FROM transaction_attempts WHERE hash = ?"
        row = await self._journal.read(lambda conn: conn.execute(sql, (transaction,)).fetchone())
        return None if row is None else str(row[0])

    async def open(self, sender: str) -> list[Step]:
        """The steps that may still be mined, in the order of their nonces."""
        sql = "SELECT * FROM transactions WHERE sender = ? AND state = 'open' ORDER BY nonce"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (sender,)).fetchall())
        return [Step(**dict(row)) for row in rows]

    async def ended_since(self, sender: str, at: int) -> list[Step]:
        """The steps that were mined and found final since a time (UTC seconds), the oldest first."""
        sql = (
            "SELECT * FROM transactions WHERE sender = ? AND state IN ('done', 'reverted') AND updated_at >= ? "
            "ORDER BY nonce"
        )
        rows = await self._journal.read(lambda conn: conn.execute(sql, (sender, at)).fetchall())
        return [Step(**dict(row)) for row in rows]

    async def under(self, prefix: str) -> list[Step]:
        """The steps whose key begins with `prefix`, the oldest first."""
        sql = "SELECT * FROM transactions WHERE substr(key, 1, ?) = ? ORDER BY rowid"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (len(prefix), prefix)).fetchall())
        return [Step(**dict(row)) for row in rows]

    async def newest(self, limit: int, before: int | None = None) -> list[tuple[int, Step]]:
        """The newest steps first with their row numbers; `before` continues a listing."""
        sql = "SELECT rowid AS place, * FROM transactions WHERE rowid < ? ORDER BY rowid DESC LIMIT ?"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (before or 2**62, limit)).fetchall())
        return [(row["place"], Step(**{name: row[name] for name in Step.__struct_fields__})) for row in rows]

    async def sign(self, step: Step, attempt: Attempt) -> None:
        """Write a step and its newest signed form: before this returns, nothing may be sent."""

        def run(conn: sqlite3.Connection) -> None:
            conn.execute(_UPSERT, msgspec.structs.astuple(step))
            conn.execute(
                "INSERT INTO transaction_attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (hash) DO UPDATE SET at_block = excluded.at_block WHERE key = excluded.key",
                msgspec.structs.astuple(attempt),
            )

        await self._journal.write(run)

    async def reopen(self, step: Step) -> None:
        """Write that a step which had ended has not: void and mined after all, or mined and taken back."""
        await self._journal.write(lambda conn: conn.execute(_UPSERT, msgspec.structs.astuple(step)))

    async def finish(
        self, key: str, state: State, now: int, *, mined: str = "", receipt: bytes | None = None, note: str = ""
    ) -> None:
        """Write how a step ended; `mined` is the hash that made it."""
        sql = (
            "UPDATE transactions SET state = ?, hash = CASE WHEN ? = '' THEN hash ELSE ? END, receipt = ?, note = ?, "
            "updated_at = ? WHERE key = ?"
        )
        await self._journal.write(lambda conn: conn.execute(sql, (state, mined, mined, receipt, note, now, key)))


_UPSERT = (
    "INSERT INTO transactions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
    "data = excluded.data, value_wei = excluded.value_wei, state = excluded.state, nonce = excluded.nonce, "
    "gas = excluded.gas, hash = excluded.hash, receipt = excluded.receipt, note = excluded.note, "
    "updated_at = excluded.updated_at"
)
