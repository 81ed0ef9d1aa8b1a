"""Jobs: started at once, told while they run, kept when they end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from node.journal import open_journal
from node.journal.jobs import Jobs
from node.observe.events import EventBus
from node.rpc.errors import Invalid, NotFound
from node.rpc.jobs import RUNNING, JobRunner, Progress, open_jobs
from node.rpc.values import Result


@asynccontextmanager
async def runner(path: Path, bus: EventBus | None = None) -> AsyncIterator[JobRunner]:
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(open_journal(path / "j.db"))
        yield await stack.enter_async_context(open_jobs(Jobs(journal), bus or EventBus(), lambda: 1_000))


async def ended(jobs: JobRunner, id: str) -> Result:
    with trio.fail_after(5):
        while (job := await jobs.get(id))["state"] == "running":
            await trio.sleep(0.01)
    return job


async def forever(progress: Progress) -> None:
    progress(3, 10, "files", "reading")
    await trio.sleep_forever()


async def test_a_job_answers_at_once_and_ends_with_its_result(tmp_path: Path) -> None:
    async def work(progress: Progress) -> Result:
        progress(2, 2, "files")
        return {"records": 7}

    async with runner(tmp_path) as jobs:
        id = (await jobs.start("collect", work))["job"]
        job = await ended(jobs, id)
    assert job.pop("job") == id
    assert job == {
        "kind": "collect", "state": "done", "done": 2, "total": 2, "unit": "files", "note": "",
        "started_at": "1970-01-01T00:16:40Z", "ended_at": "1970-01-01T00:16:40Z", "result": {"records": 7},
    }  # fmt: skip


async def test_progress_shows_while_it_runs_and_on_the_topic(tmp_path: Path) -> None:
    bus = EventBus()
    async with runner(tmp_path, bus) as jobs:
        with bus.subscribe({"jobs"}) as events:
            id = (await jobs.start("collect", forever))["job"]
            with trio.fail_after(1):
                event = await anext(events)
        assert (event.data["job"], event.data["done"], event.data["note"]) == (id, 3, "reading")
        job = await jobs.get(id)
        assert (job["state"], job["done"], job["total"]) == ("running", 3, 10)


async def test_a_flood_of_progress_is_told_a_few_times_a_second(tmp_path: Path) -> None:
    bus = EventBus()

    async def work(progress: Progress) -> None:
        for n in range(1_000):
            progress(n)

    async with runner(tmp_path, bus) as jobs:
        await ended(jobs, (await jobs.start("collect", work))["job"])
    assert bus.seq < 10


async def test_a_failure_is_the_jobs_and_not_the_nodes(tmp_path: Path) -> None:
    async def work(progress: Progress) -> None:
        raise Invalid("no such folder")

    async def bug(progress: Progress) -> None:
        raise KeyError("x")

    async with runner(tmp_path) as jobs:
        job = await ended(jobs, (await jobs.start("collect", work))["job"])
        assert (job["state"], job["error"]["message"]) == ("failed", "no such folder")
        job = await ended(jobs, (await jobs.start("collect", bug))["job"])
        assert (job["state"], job["error"]["data"]["kind"]) == ("failed", "internal")


async def test_a_job_can_be_cancelled(tmp_path: Path) -> None:
    async with runner(tmp_path) as jobs:
        id = (await jobs.start("collect", forever))["job"]
        jobs.cancel(id)
        assert (await ended(jobs, id))["state"] == "cancelled"
        with pytest.raises(NotFound):
            jobs.cancel(id)


async def test_a_job_that_runs_at_the_end_is_interrupted(tmp_path: Path) -> None:
    async with runner(tmp_path) as jobs:
        id = (await jobs.start("collect", forever))["job"]
    async with runner(tmp_path) as jobs:
        assert (await jobs.get(id))["state"] == "interrupted"
        assert [job["job"] for job in await jobs.newest(10)] == [id]


async def test_too_many_jobs_are_refused(tmp_path: Path) -> None:
    async with runner(tmp_path) as jobs:
        for _ in range(RUNNING):
            await jobs.start("collect", forever)
        with pytest.raises(Invalid, match="wait"):
            await jobs.start("collect", forever)


async def test_an_unknown_job_is_not_found(tmp_path: Path) -> None:
    async with runner(tmp_path) as jobs:
        with pytest.raises(NotFound):
            await jobs.get("x")
