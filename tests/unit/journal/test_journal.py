"""The journal keeps what it said it kept, and nothing of what failed."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio

from node.journal import Journal, open_journal
from node.journal.errors import JournalError, JournalMisuse, JournalTooNew
from node.journal.schema import MIGRATIONS, VERSION, schemas, statements


async def table(journal: Journal) -> None:
    await journal.write(lambda conn: conn.execute("CREATE TABLE t (n INTEGER)"))


async def count(journal: Journal) -> int:
    return int(await journal.read(lambda conn: conn.execute("SELECT count(*) FROM t").fetchone()[0]))


async def test_a_write_is_seen_by_the_next_read(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.db") as journal:
        await table(journal)
        await journal.write(lambda conn: conn.execute("INSERT INTO t VALUES (7)"))
        (row,) = await journal.read(lambda conn: conn.execute("SELECT n FROM t").fetchall())
    assert row["n"] == 7
    assert tuple(row) == (7,)


async def test_a_callback_that_raises_leaves_nothing(tmp_path: Path) -> None:
    def half(conn: sqlite3.Connection) -> None:
        conn.execute("INSERT INTO t VALUES (1)")
        raise ZeroDivisionError

    async with open_journal(tmp_path / "j.db") as journal:
        await table(journal)
        with pytest.raises(ZeroDivisionError):
            await journal.write(half)
        assert await count(journal) == 0


async def test_a_callback_that_commits_by_itself_is_told(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.db") as journal:
        await table(journal)
        with pytest.raises(JournalMisuse):
            await journal.write(lambda conn: conn.execute("COMMIT"))


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.db") as journal:
        await table(journal)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await journal.read(lambda conn: conn.execute("INSERT INTO t VALUES (1)"))


async def test_many_tasks_write_and_read_at_once(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.db") as journal:
        await table(journal)

        async def one(n: int) -> None:
            await journal.write(lambda conn: conn.execute("INSERT INTO t VALUES (?)", (n,)))
            assert await count(journal) > 0

        async with trio.open_nursery() as nursery:
            for n in range(30):
                nursery.start_soon(one, n)
        assert await count(journal) == 30


async def test_the_file_is_private_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with open_journal(path) as journal:
        await table(journal)
        modes = [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()]
        pragmas = await journal.write(
            lambda conn: [conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        )
    assert set(modes) == {0o600}
    assert pragmas == ["wal", 2]


async def test_foreign_keys_are_enforced(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.db") as journal:
        await journal.write(lambda conn: conn.execute("CREATE TABLE a (i INTEGER PRIMARY KEY)"))
        await journal.write(lambda conn: conn.execute("CREATE TABLE b (i REFERENCES a)"))
        with pytest.raises(sqlite3.IntegrityError):
            await journal.write(lambda conn: conn.execute("INSERT INTO b VALUES (1)"))


async def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    program = f"""
import os, trio
from pathlib import Path
from node.journal import open_journal
async def main():
    async with open_journal(Path({str(path)!r})) as journal:
        await journal.write(lambda conn: conn.execute("CREATE TABLE t (n INTEGER)"))
        await journal.write(lambda conn: conn.execute("INSERT INTO t VALUES (1)"))
        os.kill(os.getpid(), 9)
trio.run(main)
"""
    done = await trio.to_thread.run_sync(lambda: subprocess.run([sys.executable, "-c", program], check=False))
    assert done.returncode == -9
    async with open_journal(path) as journal:
        assert await count(journal) == 1


async def test_a_journal_of_a_newer_program_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    with sqlite3.connect(path) as conn:
        conn.execute(f"PRAGMA user_version = {VERSION + 1}")
    conn.close()
    with pytest.raises(JournalTooNew, match=str(VERSION + 1)):
        async with open_journal(path):
            pass
    conn = sqlite3.connect(path)
    assert conn.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    conn.close()


async def test_a_file_that_is_no_journal_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(JournalError, match=r"j\.db cannot be opened as the journal"):
        async with open_journal(path):
            pass


async def test_every_noun_has_its_tables(tmp_path: Path) -> None:
    assert "jobs" in schemas()
    async with open_journal(tmp_path / "j.db") as journal:
        sql = "SELECT name FROM sqlite_master WHERE type = 'table'"
        names = await journal.read(lambda conn: [row["name"] for row in conn.execute(sql)])
    assert "jobs" in names


def test_a_script_is_split_at_statements_only() -> None:
    sql = "CREATE TABLE a (x TEXT DEFAULT ';');\nCREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END;\n"
    assert len(list(statements(sql))) == 2


def test_ratings_of_the_first_version_are_kept():
    """Version 2 knows one state more of a rating."""
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.execute(
            "CREATE TABLE feedback (feedback TEXT PRIMARY KEY, subject TEXT NOT NULL, ticket TEXT NOT NULL, "
            "domain TEXT NOT NULL, body BLOB NOT NULL, state TEXT NOT NULL "
            "CHECK (state IN ('given', 'rewarded', 'unrewarded')), "
            "reward_wei TEXT NOT NULL DEFAULT '0', note TEXT NOT NULL DEFAULT '', created_at INTEGER NOT NULL) STRICT"
        )
        conn.execute("INSERT INTO feedback VALUES ('a', 'm', 't', 'fashion', x'00', 'rewarded', '7', '', 5)")
        for statement in statements(MIGRATIONS[0]):
            conn.execute(statement)
        assert conn.execute("SELECT * FROM feedback").fetchall() == [
            ("a", "m", "t", "fashion", b"\0", "rewarded", "7", "", 5)
        ]
        conn.execute("UPDATE feedback SET state = 'told'")


def test_demands_of_the_second_version_are_kept() -> None:
    """They knew neither domain nor price: such a want is summed up in no profile."""
    (step,) = [sql for sql in MIGRATIONS if "ALTER TABLE demands" in sql]
    with closing(sqlite3.connect(":memory:")) as old, closing(sqlite3.connect(":memory:")) as new:
        old.execute(
            "CREATE TABLE demands (demand TEXT PRIMARY KEY, text TEXT NOT NULL, "
            "withdrawn INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL) STRICT"
        )
        old.execute("INSERT INTO demands VALUES ('a', 'bread', 0, 5)")
        for statement in statements(step):
            old.execute(statement)
        assert old.execute("SELECT * FROM demands").fetchall() == [("a", "bread", 0, 5, "", "0")]
        for statement in statements(schemas()["demands"]):
            new.execute(statement)
        columns = "SELECT name, type, dflt_value FROM pragma_table_info('demands')"
        assert old.execute(columns).fetchall() == new.execute(columns).fetchall()
