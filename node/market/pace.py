"""How fast items may come: token buckets by time, for what we tell and for what each author tells us."""

from __future__ import annotations

from collections import OrderedDict

import trio

from protocols.ids import PeerId

AUTHORS_KEPT = 4_096


class Bucket:
    """`burst` at once, then `rate` a second."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at = trio.current_time()

    def take(self) -> bool:
        """Whether one more may come now."""
        self._fill()
        if self._level < 1:
            return False
        self._level -= 1
        return True

    async def wait(self) -> None:
        """Take one, as soon as it is there."""
        self._fill()
        self._level -= 1  # may go below zero: who comes later waits longer
        if self._level < 0:
            await trio.sleep(-self._level / self._rate)

    def _fill(self) -> None:
        now = trio.current_time()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now


class Authors:
    """A bucket for every author; the one not heard for longest is forgotten first."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[PeerId, Bucket] = OrderedDict()

    def take(self, author: PeerId) -> bool:
        """Whether this author may tell one more now."""
        bucket = self._buckets.get(author)
        if bucket is None:
            bucket = self._buckets[author] = Bucket(self._rate, self._burst)
            if len(self._buckets) > AUTHORS_KEPT:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(author)
        return bucket.take()
