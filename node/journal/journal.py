"""The journal: what must survive a crash, written before the step that needs it.

    async with open_journal(path) as journal:
        await journal.write(lambda conn: conn.execute("INSERT …"))
        rows = await journal.read(lambda conn: conn.execute("SELECT …").fetchall())

When `write` returns, the transaction is on the disk (WAL with synchronous=FULL). Rows are `sqlite3.Row`: by name,
by index, and they unpack; compare `tuple(row)`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import trio

from node.journal.errors import JournalError, JournalMisuse
from node.journal.schema import migrate

T = TypeVar("T")

READERS = 2  # WAL readers never block the writer; two hide one slow listing behind another
BUSY_MS = 5_000  # a backup tool may hold the file for a moment; the daemon itself is alone by its LOCK


class Journal:
    """One writer and a few readers over one SQLite file, each call in a worker thread."""

    def __init__(self, writer: sqlite3.Connection, readers: list[sqlite3.Connection]) -> None:
        self._writer = writer
        self._readers = readers
        self._one_writer = trio.CapacityLimiter(1)
        self._some_readers = trio.CapacityLimiter(len(readers))

    async def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run `fn` in one immediate transaction: committed before the return, rolled back when it raises.

        A cancellation that arrives while the thread works is delivered after the commit, never in the middle.
        """
        return await trio.to_thread.run_sync(_transact, self._writer, fn, limiter=self._one_writer)

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run `fn` on one consistent snapshot that cannot write."""
        return await trio.to_thread.run_sync(self._snapshot, fn, limiter=self._some_readers)

    def _snapshot(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        conn = self._readers.pop()  # atomic under the GIL; the limiter keeps one for each caller
        try:
            conn.execute("BEGIN")
            try:
                return fn(conn)
            finally:
                if conn.in_transaction:
                    conn.execute("ROLLBACK")
        finally:
            self._readers.append(conn)

    async def scrub(self) -> None:
        """Fold the log into the file and empty it: with it leaves the disk what was deleted or overwritten before.

        Raises JournalError when a reader of another process holds the log for longer than BUSY_MS.
        """
        await trio.to_thread.run_sync(_fold, self._writer, limiter=self._one_writer)

    def close(self) -> None:
        """Fold the log into the file and let go of it; blocks for some milliseconds."""
        for conn in self._readers:
            conn.close()
        self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writer.close()


def _fold(conn: sqlite3.Connection) -> None:
    busy = conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise JournalError("the journal's log cannot be emptied: another program reads the journal, end it")


def _transact(conn: sqlite3.Connection, fn: Callable[[sqlite3.Connection], T]) -> T:
    conn.execute("BEGIN IMMEDIATE")
    try:
        result = fn(conn)
        if conn.in_transaction:
            conn.execute("COMMIT")
            return result
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise
    raise JournalMisuse("a journal callback ended its transaction by itself")


@asynccontextmanager
async def open_journal(path: Path) -> AsyncIterator[Journal]:
    """Open (or make, 0600) the journal file and bring its schema forward.

    Raises JournalError when the file is not a journal, JournalTooNew when a newer program wrote it.
    """
    journal = await trio.to_thread.run_sync(_open, path)
    try:
        yield journal
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(journal.close)


def _open(path: Path) -> Journal:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))  # SQLite gives -wal and -shm the same mode
    with _explained(path):
        writer = _connect(path)
        try:
            writer.execute("PRAGMA journal_mode = WAL")
            writer.execute("PRAGMA synchronous = FULL")
            writer.execute("PRAGMA secure_delete = ON")  # a destroyed key must not stay behind in a page's free space
            migrate(writer)
            readers = [_connect(path) for _ in range(READERS)]
        except BaseException:
            writer.close()
            raise
        for conn in readers:
            conn.execute("PRAGMA query_only = ON")
        return Journal(writer, readers)


def _connect(path: Path) -> sqlite3.Connection:
    # check_same_thread: the limiters hand one connection to one thread at a time
    conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    conn.row_factory = sqlite3.Row
    conn.execute("PRAGMA foreign_keys = ON")
    return conn


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as err:
        raise JournalError(f"{path} cannot be opened as the journal: {err}") from err
