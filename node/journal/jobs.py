"""Long operations as they stand: a job found running at start was cut off and becomes `interrupted`."""

from __future__ import annotations

import sqlite3
from typing import Literal

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job        TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'cancelled', 'interrupted')),
    done       INTEGER NOT NULL DEFAULT 0,
    total      INTEGER,
    unit       TEXT NOT NULL DEFAULT '',
    note       TEXT NOT NULL DEFAULT '',
    result     BLOB,
    error      BLOB,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_by_start ON jobs (started_at, job);
"""

State = Literal["running", "done", "failed", "cancelled", "interrupted"]
KEPT = 1_000  # finished jobs that stay; older ones answer nobody any more


class Job(msgspec.Struct, frozen=True):
    """One long operation; `result` and `error` are JSON texts, times are UTC seconds."""

    job: str
    kind: str
    state: State
    done: int
    total: int | None
    unit: str
    note: str
    result: bytes | None
    error: bytes | None
    started_at: int
    ended_at: int | None


class Jobs:
    """The store of jobs."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def begin(self, job: str, kind: str, now: int) -> None:
        """Note a new running job, and drop finished ones beyond `KEPT`."""

        def run(conn: sqlite3.Connection) -> None:
            conn.execute(
                "INSERT INTO jobs (job, kind, state, started_at) VALUES (?, ?, 'running', ?)", (job, kind, now)
            )
            conn.execute(
                "DELETE FROM jobs WHERE state <> 'running' AND job NOT IN "
                "(SELECT job FROM jobs ORDER BY started_at DESC, rowid DESC LIMIT ?)",
                (KEPT,),
            )

        await self._journal.write(run)

    async def end(self, job: Job) -> None:
        """Write the last state of a job."""
        values = (job.state, job.done, job.total, job.unit, job.note, job.result, job.error, job.ended_at, job.job)
        await self._journal.write(
            lambda conn: conn.execute(
                "UPDATE jobs SET state=?, done=?, total=?, unit=?, note=?, result=?, error=?, ended_at=? WHERE job=?",
                values,
            )
        )

    async def interrupt(self, now: int) -> int:
        """Mark what a crash cut off; returns how many."""
        sql = "UPDATE jobs SET state = 'interrupted', ended_at = ? WHERE state = 'running'"
        return await self._journal.write(lambda conn: conn.execute(sql, (now,)).rowcount)

    async def get(self, job: str) -> Job | None:
        """One job, or None."""
        row = await self._journal.read(lambda conn: conn.execute("SELECT * FROM jobs WHERE job = ?", (job,)).fetchone())
        return None if row is None else Job(**dict(row))

    async def newest(self, limit: int) -> list[Job]:
        """The newest jobs first."""
        sql = "SELECT * FROM jobs ORDER BY started_at DESC, rowid DESC LIMIT ?"
        rows = await self._journal.read(lambda conn: conn.execute(sql, (limit,)).fetchall())
        return [Job(**dict(row)) for row in rows]
