"""The producer's side of profiles: each purchase before its voucher is signed, and the profile when it came.

At most one purchase of a payee is open. What is open is asked for again before anything more is signed for him; so who
takes the money and sends nothing, or something else, gets the price of one profile.
"""

from __future__ import annotations

import sqlite3
from typing import Literal

import msgspec

from node.journal.journal import Journal
from protocols.profile.messages import digest_of

SCHEMA = """
CREATE TABLE IF NOT EXISTS profile_purchases (
    purchase BLOB PRIMARY KEY,
    query    TEXT NOT NULL,
    payee    TEXT NOT NULL,
    peer     TEXT NOT NULL,
    domain   TEXT NOT NULL,
    digest   BLOB NOT NULL,
    cost_wei TEXT NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('open', 'came', 'dropped')),
    body     BLOB,
    at       INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS profile_purchase_open ON profile_purchases (payee) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS profile_purchases_by_domain ON profile_purchases (domain, state, at);
"""

State = Literal["open", "came", "dropped"]


class Purchase(msgspec.Struct, frozen=True):
    """One profile bought. `purchase` is the id on the wire, `query` the call it belongs to, `at` UTC seconds.

    `dropped`: the seller's own word says that he charged nothing for it.
    """

    purchase: bytes
    query: str
    payee: str
    peer: str
    domain: str
    digest: bytes
    cost_wei: int
    state: State
    body: bytes | None
    at: int


class ProfilePurchases:
    """The store of a producer."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def begin(self, one: Purchase) -> None:
        """Note a purchase before its voucher is signed; one that was dropped may be begun again."""
        values = (
            one.purchase, one.query, one.payee, one.peer, one.domain, one.digest, str(one.cost_wei), one.state,
            one.body, one.at,
        )  # fmt: skip

        def run(conn: sqlite3.Connection) -> None:
            conn.execute("DELETE FROM profile_purchases WHERE purchase = ? AND state = 'dropped'", (one.purchase,))
            conn.execute("INSERT INTO profile_purchases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

        await self._journal.write(run)

    async def came(self, purchase: bytes, body: bytes) -> None:
        """The profile is here and keeps its rules."""
        sql = "UPDATE profile_purchases SET state = 'came', body = ?, digest = ? WHERE purchase = ?"
        await self._journal.write(lambda conn: conn.execute(sql, (body, digest_of(body), purchase)))

    async def drop(self, purchase: bytes) -> None:
        """Nothing was charged for it."""
        sql = "UPDATE profile_purchases SET state = 'dropped' WHERE purchase = ?"
        await self._journal.write(lambda conn: conn.execute(sql, (purchase,)))

    async def get(self, purchase: bytes) -> Purchase | None:
        """One purchase."""
        return _first(await self._rows("SELECT * FROM profile_purchases WHERE purchase = ?", (purchase,)))

    async def last(self, payee: str) -> Purchase | None:
        """The newest purchase of a payee. Only this one can be open."""
        sql = "SELECT * FROM profile_purchases WHERE payee = ? ORDER BY rowid DESC LIMIT 1"
        return _first(await self._rows(sql, (payee,)))

    async def held(self, domain: str, since: int) -> list[Purchase]:
        """The newest profile of each payee that came since a time."""
        sql = "SELECT * FROM profile_purchases WHERE domain = ? AND state = 'came' AND at >= ? ORDER BY at, rowid"
        return list({one.payee: one for one in await self._rows(sql, (domain, since))}.values())

    async def _rows(self, sql: str, values: tuple[str | bytes | int, ...]) -> list[Purchase]:
        rows = await self._journal.read(lambda conn: conn.execute(sql, values).fetchall())
        return [_purchase(row) for row in rows]


def _purchase(row: sqlite3.Row) -> Purchase:
    purchase, query, payee, peer, domain, digest, cost, state, body, at = tuple(row)
    return Purchase(purchase, query, payee, peer, domain, digest, int(cost), state, body, at)


def _first(rows: list[Purchase]) -> Purchase | None:
    return rows[0] if rows else None
