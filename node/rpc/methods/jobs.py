"""jobs: long operations and how they stand."""

from __future__ import annotations

from node.rpc.jobs import JobRunner
from node.rpc.method import Method
from node.rpc.values import Limit, Name, Result, items


def methods(jobs: JobRunner) -> list[Method]:
    """Get, list, cancel."""

    async def get(job: Name) -> Result:
        """How a job stands: state, done, total, unit, note; its result or error when it has ended."""
        return await jobs.get(job)

    async def listed(limit: Limit = 50) -> Result:
        """Jobs, newest first."""
        return items(await jobs.newest(limit))

    async def cancel(job: Name) -> Result:
        """Stop a running job."""
        jobs.cancel(job)
        return {"job": job}

    return [Method("jobs.get", get), Method("jobs.list", listed), Method("jobs.cancel", cancel)]
