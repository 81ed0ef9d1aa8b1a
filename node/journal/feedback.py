"""Ratings this node gave: journalled before the reward is asked for.

given       nobody has been asked for its reward yet
told        of a model: the next epoch's distributor counts it
rewarded, unrewarded   what the pool said of a rating of data
"""

from __future__ import annotations

from typing import Literal

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS feedback (
    feedback   TEXT PRIMARY KEY,
    subject    TEXT NOT NULL,
    ticket     TEXT NOT NULL,
    domain     TEXT NOT NULL,
    body       BLOB NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('given', 'told', 'rewarded', 'unrewarded')),
    reward_wei TEXT NOT NULL DEFAULT '0',
    note       TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL
) STRICT;
"""

State = Literal["given", "told", "rewarded", "unrewarded"]


class Given(msgspec.Struct, frozen=True):
    """A rating of ours; `body` is the signed bytes, `created_at` UTC seconds."""

    feedback: str
    subject: str
    ticket: str
    domain: str
    body: bytes
    state: State
    reward_wei: str
    note: str
    created_at: int


class FeedbackStore:
    """The store of own ratings."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def begin(self, given: Given) -> None:
        """Write a rating; one that is known stays as it is."""
        values = msgspec.structs.astuple(given)
        sql = "INSERT INTO feedback VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        await self._journal.write(lambda conn: conn.execute(sql, values))

    async def finish(self, feedback: str, state: State, reward_wei: int, note: str = "") -> None:
        """What the pool said."""
        sql = "UPDATE feedback SET state = ?, reward_wei = ?, note = ? WHERE feedback = ?"
        await self._journal.write(lambda conn: conn.execute(sql, (state, str(reward_wei), note, feedback)))

    async def unfinished(self) -> list[Given]:
        """Ratings whose reward has not been asked for to the end."""
        return await self._rows("SELECT * FROM feedback WHERE state = 'given' ORDER BY created_at")

    async def all(self) -> list[Given]:
        """Every own rating, oldest first."""
        return await self._rows("SELECT * FROM feedback ORDER BY created_at, feedback")

    async def _rows(self, sql: str) -> list[Given]:
        rows = await self._journal.read(lambda conn: conn.execute(sql).fetchall())
        return [Given(*row) for row in rows]
