"""What a consumer bought from models: each call before it goes out, its receipt when the answer came, and the tab
with each model.

The tab says how much of what was promised by voucher has been answered. What is promised and not answered is credit
for the next call, so a provider who fails costs at most one request, and a call that was cut off by a crash is not
paid for twice.
"""

from __future__ import annotations

import sqlite3
from typing import Literal

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS model_calls (
    request        BLOB PRIMARY KEY,
    model          TEXT NOT NULL,
    provider       TEXT NOT NULL,
    units          INTEGER NOT NULL,
    cost_wei       TEXT NOT NULL,
    cumulative_wei TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('sent', 'answered', 'failed')),
    receipt        BLOB,
    at             INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS model_calls_by_model ON model_calls (model, at);
CREATE TABLE IF NOT EXISTS model_tabs (
    model        TEXT PRIMARY KEY,
    answered_wei TEXT NOT NULL,
    lost_wei     TEXT NOT NULL,
    losses       INTEGER NOT NULL,
    calls        INTEGER NOT NULL
) STRICT;
"""

State = Literal["sent", "answered", "failed"]
CALLS_KEPT = 10_000  # newest calls with their receipts; the tab keeps the sums for ever


class Call(msgspec.Struct, frozen=True):
    """One paid request. `receipt` is the provider's signed receipt as it came; `at` UTC seconds."""

    request: bytes
    model: str
    provider: str
    units: int
    cost_wei: int
    cumulative_wei: int
    state: State
    receipt: bytes | None
    at: int


class Tab(msgspec.Struct, frozen=True):
    """The sums with one model: answered, given up as lost, how often lost since the last answer, calls answered."""

    answered_wei: int = 0
    lost_wei: int = 0
    losses: int = 0
    calls: int = 0

    @property
    def spent_wei(self) -> int:
        """What no longer counts as credit."""
        return self.answered_wei + self.lost_wei

    @property
    def is_younger(self) -> bool:
        """Opened on a lane that was paid before, and nothing came of it yet: an older journal is gone."""
        return self.lost_wei > 0 and self.losses == self.calls == 0


class ModelCalls:
    """The store of a consumer's calls."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def send(self, call: Call) -> None:
        """Note a call before it goes out."""

        def run(conn: sqlite3.Connection) -> None:
            conn.execute(
                "INSERT INTO model_calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    call.request, call.model, call.provider, call.units, str(call.cost_wei),
                    str(call.cumulative_wei), call.state, call.receipt, call.at,
                ),
            )  # fmt: skip
            conn.execute(
                "DELETE FROM model_calls WHERE rowid <= (SELECT max(rowid) FROM model_calls) - ?", (CALLS_KEPT,)
            )

        await self._journal.write(run)

    async def answered(self, call: Call, receipt: bytes) -> None:
        """The answer came and its receipt is good: the money is spent."""

        def run(conn: sqlite3.Connection) -> None:
            tab = _tab(conn, call.model)
            _set(conn, call, "answered", receipt)
            _keep(conn, call.model, Tab(tab.answered_wei + call.cost_wei, tab.lost_wei, 0, tab.calls + 1))

        await self._journal.write(run)

    async def failed(self, call: Call, lost_wei: int = 0) -> None:
        """No answer. `lost_wei` of what was promised will not be served any more."""

        def run(conn: sqlite3.Connection) -> None:
            tab = _tab(conn, call.model)
            _set(conn, call, "failed", None)
            if lost_wei:
                _keep(conn, call.model, Tab(tab.answered_wei, tab.lost_wei + lost_wei, tab.losses + 1, tab.calls))

        await self._journal.write(run)

    async def tab(self, model: str) -> Tab | None:
        """How we stand with a model; None before the first call."""

        def run(conn: sqlite3.Connection) -> Tab | None:
            known = conn.execute("SELECT 1 FROM model_tabs WHERE model = ?", (model,)).fetchone()
            return None if known is None else _tab(conn, model)

        return await self._journal.read(run)

    async def begin(self, model: str, settled_wei: int) -> Tab:
        """Open the tab of a model. What the chain has paid already is spent: this journal may be younger than the
        wallet.
        """

        def run(conn: sqlite3.Connection) -> Tab:
            sql = "INSERT OR IGNORE INTO model_tabs VALUES (?, '0', ?, 0, 0)"
            conn.execute(sql, (model, str(settled_wei)))
            return _tab(conn, model)

        return await self._journal.write(run)

    async def get(self, request: bytes) -> Call | None:
        """One call."""
        sql = "SELECT * FROM model_calls WHERE request = ?"
        row = await self._journal.read(lambda conn: conn.execute(sql, (request,)).fetchone())
        return None if row is None else _call(row)

    async def newest(self, model: str, limit: int) -> list[Call]:
        """The newest calls to a model."""
        sql = "SELECT * FROM model_calls WHERE model = ? ORDER BY rowid DESC LIMIT ?"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (model, limit)).fetchall())
        return [_call(row) for row in rows]


def _call(row: sqlite3.Row) -> Call:
    request, model, provider, units, cost, cumulative, state, receipt, at = tuple(row)
    return Call(request, model, provider, units, int(cost), int(cumulative), state, receipt, at)


def _tab(conn: sqlite3.Connection, model: str) -> Tab:
    row = conn.execute("SELECT * FROM model_tabs WHERE model = ?", (model,)).fetchone()
    return Tab() if row is None else Tab(int(row[1]), int(row[2]), row[3], row[4])


def _keep(conn: sqlite3.Connection, model: str, tab: Tab) -> None:
    values = (model, str(tab.answered_wei), str(tab.lost_wei), tab.losses, tab.calls)
    conn.execute("INSERT OR REPLACE INTO model_tabs VALUES (?, ?, ?, ?, ?)", values)


def _set(conn: sqlite3.Connection, call: Call, state: State, receipt: bytes | None) -> None:
    conn.execute("UPDATE model_calls SET state = ?, receipt = ? WHERE request = ?", (state, receipt, call.request))
