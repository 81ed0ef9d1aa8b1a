"""What was refused and may be right later: dated ahead of our clock, not borne out by the chain yet, without room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

KEPT = 20_000  # ids: 5 MB
FIRST_REST_S, LONGEST_REST_S = 30, 3_600


class Refusals:
    """Ids of authentic items that were not kept, and when each is worth another look: later each time."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._until: OrderedDict[str, tuple[int, int]] = OrderedDict()  # UTC seconds, and the rest before them

    def add(self, id: str) -> None:
        """Refused once more; while it rests, that changes nothing."""
        if not self.over(id):
            return
        _, last = self._until.pop(id, (0, 0))
        rest = min(max(2 * last, FIRST_REST_S), LONGEST_REST_S)
        self._until[id] = (self._clock() + rest, rest)
        if len(self._until) > KEPT:
            self._until.popitem(last=False)

    def over(self, id: str) -> bool:
        """Whether its rest is over; true of what was never refused, and when the clock was set back."""
        until, rest = self._until.get(id, (0, 0))
        return not 0 < until - self._clock() <= rest

    def until(self, id: str) -> int:
        """When its rest is over (UTC seconds); 0 for what was never refused."""
        return self._until.get(id, (0, 0))[0]
