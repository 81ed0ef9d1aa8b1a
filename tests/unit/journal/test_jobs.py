"""Jobs as the journal keeps them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from node.journal import jobs as module
from node.journal import open_journal
from node.journal.jobs import Jobs


async def test_a_running_job_becomes_interrupted_at_restart(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.db") as journal:
        await Jobs(journal).begin("a", "collect", 100)
    async with open_journal(tmp_path / "j.db") as journal:
        jobs = Jobs(journal)
        assert await jobs.interrupt(200) == 1
        job = await jobs.get("a")
    assert job is not None
    assert (job.state, job.ended_at) == ("interrupted", 200)


async def test_a_finished_job_stays_finished(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.db") as journal:
        jobs = Jobs(journal)
        await jobs.begin("a", "collect", 100)
        job = await jobs.get("a")
        assert job is not None
        await jobs.end(msgspec.structs.replace(job, state="done", done=3, total=3, result=b"{}", ended_at=150))
        assert await jobs.interrupt(200) == 0
        job = await jobs.get("a")
    assert job is not None
    assert (job.state, job.done, job.result, job.ended_at) == ("done", 3, b"{}", 150)


async def test_old_finished_jobs_are_dropped(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.db") as journal:
        jobs = Jobs(journal)
        sql = "INSERT INTO jobs (job, kind, state, started_at) VALUES (?, 'x', 'done', ?)"
        rows = [(f"old{n}", n) for n in range(module.KEPT + 5)]
        await journal.write(lambda conn: conn.executemany(sql, rows))
        await jobs.begin("new", "collect", 10_000)
        kept = await jobs.newest(5_000)
    assert len(kept) == module.KEPT
    assert kept[0].job == "new"
