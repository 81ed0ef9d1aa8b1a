"""Epochs of rewards: what the chain says was proposed, and what this node proposes itself.

A proposal of ours is written whole before it is signed: `drafted` until the chain has it (`proposed`) or will not take
it (`refused`). `items` are the feedback items it rests on; their hash goes on chain, the list stays here.
"""

from __future__ import annotations

import sqlite3
from typing import Literal

import msgspec

from node.journal.journal import Journal

SCHEMA = """
CREATE TABLE IF NOT EXISTS reward_epochs (
    epoch       INTEGER PRIMARY KEY,
    proposer    TEXT NOT NULL,
    proposed_at INTEGER NOT NULL,
    ready_at    INTEGER NOT NULL,
    evidence    BLOB NOT NULL,
    accounts    BLOB NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('proposed', 'void', 'finished'))
) STRICT;
CREATE TABLE IF NOT EXISTS reward_proposals (
    proposal   INTEGER PRIMARY KEY AUTOINCREMENT,
    state      TEXT NOT NULL CHECK (state IN ('drafted', 'proposed', 'refused')),
    accounts   BLOB NOT NULL,
    items      BLOB NOT NULL,
    evidence   BLOB NOT NULL,
    epoch      INTEGER NOT NULL DEFAULT 0,
    note       TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL
) STRICT;
"""

State = Literal["proposed", "void", "finished"]


class Epoch(msgspec.Struct, frozen=True):
    """A proposal on chain; `accounts` are encoded, times UTC seconds."""

    epoch: int
    proposer: str
    proposed_at: int
    ready_at: int
    evidence: bytes
    accounts: bytes
    state: State


class Proposal(msgspec.Struct, frozen=True):
    """A proposal of ours; `accounts` and `items` are encoded."""

    proposal: int
    state: Literal["drafted", "proposed", "refused"]
    accounts: bytes
    items: bytes
    evidence: bytes
    epoch: int
    note: str
    created_at: int


class Epochs:
    """The store of proposed epochs, by number."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def keep(self, row: Epoch) -> None:
        """Write what was read on chain; read again after a reorganisation it may be another."""
        sql = (
            "INSERT INTO reward_epochs VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (epoch) DO UPDATE SET "
            "proposer = excluded.proposer, proposed_at = excluded.proposed_at, ready_at = excluded.ready_at, "
            "evidence = excluded.evidence, accounts = excluded.accounts, state = excluded.state"
        )
        await self._journal.write(lambda conn: conn.execute(sql, msgspec.structs.astuple(row)))

    async def mark(self, epoch: int, state: State) -> None:
        """What became of a proposal."""
        sql = "UPDATE reward_epochs SET state = ? WHERE epoch = ?"
        await self._journal.write(lambda conn: conn.execute(sql, (state, epoch)))

    async def drop(self, epoch: int) -> None:
        """A reorganisation undid a proposal."""
        await self._journal.write(lambda conn: conn.execute("DELETE FROM reward_epochs WHERE epoch = ?", (epoch,)))

    async def all(self) -> list[Epoch]:
        """Every proposal, the first one first."""
        sql = "SELECT * FROM reward_epochs ORDER BY epoch"
        return [Epoch(*row) for row in await self._journal.read(lambda conn: conn.execute(sql).fetchall())]


class Proposals:
    """The store of own proposals."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def draft(self, accounts: bytes, items: bytes, evidence: bytes, now: int) -> Proposal:
        """Write a proposal before anything of it is signed."""

        def run(conn: sqlite3.Connection) -> Proposal:
            sql = (
                "INSERT INTO reward_proposals (state, accounts, items, evidence, created_at) "
                "VALUES ('drafted', ?, ?, ?, ?) RETURNING *"
            )
            return Proposal(*conn.execute(sql, (accounts, items, evidence, now)).fetchone())

        return await self._journal.write(run)

    async def proposed(self, proposal: int, epoch: int) -> None:
        """The chain has taken it as this epoch."""
        sql = "UPDATE reward_proposals SET state = 'proposed', epoch = ? WHERE proposal = ?"
        await self._journal.write(lambda conn: conn.execute(sql, (epoch, proposal)))

    async def refused(self, proposal: int, note: str) -> None:
        """The chain would not take it."""
        sql = "UPDATE reward_proposals SET state = 'refused', note = ? WHERE proposal = ?"
        await self._journal.write(lambda conn: conn.execute(sql, (note, proposal)))

    async def drafted(self) -> Proposal | None:
        """The proposal that a crash or a closed wallet left unfinished."""
        sql = "SELECT * FROM reward_proposals WHERE state = 'drafted' ORDER BY proposal LIMIT 1"
        row = await self._journal.read(lambda conn: conn.execute(sql).fetchone())
        return None if row is None else Proposal(*row)

    async def all(self) -> list[Proposal]:
        """Every own proposal, the first one first."""
        sql = "SELECT * FROM reward_proposals ORDER BY proposal"
        return [Proposal(*row) for row in await self._journal.read(lambda conn: conn.execute(sql).fetchall())]
