"""Long operations: answered at once with an id, run in the node's nursery, journalled, told on topic `jobs`."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import structlog
import trio

from node.journal.jobs import Job, Jobs
from node.observe.events import EventBus
from node.rpc.errors import Invalid, NotFound, to_error
from node.rpc.values import Result, time

log = structlog.get_logger(__name__)

RUNNING = 16  # at once; the next one is refused rather than queued out of sight
TELL_S = 0.2  # between two progress events of a job: a bar that moves five times a second moves

Clock = Callable[[], int]


class Progress:
    """What a running operation says about itself; call it as often as you like."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._told_at = -TELL_S
        self.done = 0
        self.total: int | None = None
        self.unit = ""
        self.note = ""

    def __call__(
        self, done: int | None = None, total: int | None = None, unit: str | None = None, note: str | None = None
    ) -> None:
        """Say how far it is; what is left out stays. To be called on the trio thread."""
        self.done = self.done if done is None else done
        self.total = self.total if total is None else total
        self.unit = self.unit if unit is None else unit
        changed = note is not None and note != self.note
        self.note = self.note if note is None else note
        now = trio.current_time()
        if changed or now - self._told_at >= TELL_S:
            self._told_at = now
            self._tell()


Operation = Callable[[Progress], Awaitable[Mapping[str, Any] | None]]


class JobRunner:
    """Starts operations and knows how they stand."""

    def __init__(self, store: Jobs, bus: EventBus, nursery: trio.Nursery, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._nursery = nursery
        self._clock = clock
        self._running: dict[str, tuple[Job, Progress, trio.CancelScope]] = {}

    async def start(self, kind: str, operation: Operation) -> Result:
        """Begin; `{"job": id}`. The operation may return an object, which becomes the job's `result`."""
        if len(self._running) >= RUNNING:
            raise Invalid(f"{RUNNING} jobs are running: wait for one to end")
        id = secrets.token_hex(8)
        await self._store.begin(id, kind, self._clock())
        job = await self._store.get(id)
        assert job is not None
        self._running[id] = (job, Progress(lambda: self._tell(id)), trio.CancelScope())
        self._nursery.start_soon(self._run, id, operation)
        return {"job": id}

    async def get(self, id: str) -> Result:
        """How a job stands. Raises NotFound."""
        return view(await self._find(id))

    async def newest(self, limit: int) -> list[Result]:
        return [view(self._live(job)) for job in await self._store.newest(limit)]

    def cancel(self, id: str) -> None:
        """Stop a running job at its next checkpoint. Raises NotFound."""
        if id not in self._running:
            raise NotFound(f"no job {id} is running")
        self._running[id][2].cancel()

    async def _find(self, id: str) -> Job:
        job = await self._store.get(id)
        if job is None:
            raise NotFound(f"there is no job {id}")
        return self._live(job)

    def _live(self, job: Job) -> Job:
        entry = self._running.get(job.job)
        return _at(entry[0], entry[1]) if entry else job

    async def _run(self, id: str, operation: Operation) -> None:
        job, progress, scope = self._running[id]
        result: bytes | None = None
        error: bytes | None = None
        try:
            with scope:
                result = msgspec.json.encode(await operation(progress) or {})
        except Exception as err:  # a border: an operation's failure is the job's, not the node's
            error = msgspec.json.encode(to_error(err))
        state = "failed" if error else "cancelled" if scope.cancelled_caught else "done"
        ended = msgspec.structs.replace(
            _at(job, progress), state=state, result=result, error=error, ended_at=self._clock()
        )
        await self._store.end(ended)
        del self._running[id]
        log.info("job ended", job=id, kind=job.kind, state=state)
        self._bus.publish("jobs", view(ended))

    def _tell(self, id: str) -> None:
        job, progress, _ = self._running[id]
        self._bus.publish("jobs", view(_at(job, progress)))


def _at(job: Job, progress: Progress) -> Job:
    return msgspec.structs.replace(
        job, done=progress.done, total=progress.total, unit=progress.unit, note=progress.note
    )


def view(job: Job) -> Result:
    """A job as RPC and events show it."""
    shown: Result = {"job": job.job, "kind": job.kind, "state": job.state}
    shown |= {"done": job.done, "total": job.total, "unit": job.unit, "note": job.note}
    shown |= {"started_at": time(job.started_at), "ended_at": time(job.ended_at)}
    if job.result is not None:
        shown["result"] = msgspec.json.decode(job.result)
    if job.error is not None:
        shown["error"] = msgspec.json.decode(job.error)
    return shown


@asynccontextmanager
async def open_jobs(store: Jobs, bus: EventBus, clock: Clock) -> AsyncIterator[JobRunner]:
    """Mark what a crash cut off, then run jobs until the context ends; those still running become `interrupted`."""
    await store.interrupt(clock())
    try:
        async with trio.open_nursery() as nursery:
            yield JobRunner(store, bus, nursery, clock)
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await store.interrupt(clock())
