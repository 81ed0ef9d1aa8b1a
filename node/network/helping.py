"""Work of a fraction of a millisecond that lets go of the interpreter, done by the loop's thread and a helper at once.

Each takes the next piece when it has done one. So a helper that gets no core costs nothing but its start: the loop's
thread does all of it, and nobody waits.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio

MAX_HELPERS = 4  # at a time, in the whole process
Work = Callable[[int, int], None]  # the piece's place, and whose hand does it: 0 or 1

_helpers = threading.Semaphore(MAX_HELPERS)


async def share(work: Work, count: int) -> None:
    """Do `work(place, hand)` for every place below `count`; cannot be cancelled. Raises what the work raises."""
    places = itertools.count()

    def some(hand: int) -> int:
        done = 0
        while (place := next(places)) < count:  # atomic under the interpreter's lock
            work(place, hand)
            done += 1
        return done

    helper = _start(lambda: some(1))
    own = some(0)
    if helper is not None and own < count:
        with trio.CancelScope(shield=True):
            await helper()


def _start(some: Callable[[], int]) -> Callable[[], Any] | None:
    """Start a helper, if one is free; what waits for it and raises what it raised."""
    if not _helpers.acquire(blocking=False):
        return None
    finished = trio.Event()
    token = trio.lowlevel.current_trio_token()
    outcomes: list[Any] = []

    def deliver(outcome: Any) -> None:
        _helpers.release()
        outcomes.append(outcome)
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(finished.set)

    async def wait() -> None:
        await finished.wait()
        outcomes[0].unwrap()

    trio.lowlevel.start_thread_soon(some, deliver)
    return wait
