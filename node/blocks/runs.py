"""Which leaves of a payload are to be asked for, in runs of consecutive ones, and who has been asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import trio

from node.blocks.payloads import RUN_LEAVES

SLOW_S = 3.0  # after which a run may be asked for a second time


class Run(NamedTuple):
    """Consecutive leaves."""

    first: int
    leaves: int


class Asked(NamedTuple):
    """How many providers were asked for a run, and when the last one was."""

    times: int
    at: float


class Work:
    """Which leaves are to be asked for, and who has been asked."""

    def __init__(self, missing: Sequence[int]) -> None:
        self._waiting = deque(_runs(missing))
        self._asked: dict[Run, Asked] = {}
        self.changed = trio.Event()

    @property
    def done(self) -> bool:
        return not self._waiting and not self._asked

    def take(self, own: Sequence[Run], now: float) -> Run | None:
        """The next run for a provider that has `own` under way: one nobody was asked for, or one more of a slow one."""
        if self._waiting:
            run = self._waiting.popleft()
        else:
            slow = (run for run, asked in self._asked.items() if asked.times == 1 and now - asked.at >= SLOW_S)
            again = None if own else next(slow, None)
            if again is None:
                return None
            run = again
        self._asked[run] = Asked(self._asked[run].times + 1 if run in self._asked else 1, now)
        return run

    def wanted(self, run: Run) -> bool:
        """Whether a run that came is still wanted: it may have come from two."""
        return run in self._asked

    def came(self, run: Run) -> None:
        self._asked.pop(run, None)
        self._tell()

    def failed(self, run: Run) -> None:
        """It will not come from one of those that were asked."""
        asked = self._asked.pop(run, None)
        if asked is None:
            return
        if asked.times > 1:
            self._asked[run] = Asked(asked.times - 1, asked.at)
        else:
            self._waiting.appendleft(run)
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


def _runs(places: Sequence[int]) -> list[Run]:
    """Consecutive places, at most `RUN_LEAVES` in a run."""
    runs: list[Run] = []
    for place in places:
        last = runs[-1] if runs else None
        if last and last.first + last.leaves == place and last.leaves < RUN_LEAVES:
            runs[-1] = Run(last.first, last.leaves + 1)
        else:
            runs.append(Run(place, 1))
    return runs
