"""Memory for what is on its way: a little for every provider, and what all transfers of a node share beyond it.

How much a provider is worth follows from the line to it: what it brings in one round trip is under way at any time
(bandwidth times delay), and as much again so that asks arrive before it runs dry. An estimate that is bound by the room
doubles it, as TCP's slow start does; on a short line it stays at the base.
"""

from __future__ import annotations

import math
from contextlib import suppress
from mmap import MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_PRIVATE, mmap

from node.blocks.payloads import RUN_LEAVES
from protocols.payload import LEAF_BYTES

RUN_BYTES = RUN_LEAVES * LEAF_BYTES  # 1 MiB
BASE_RUNS = 8  # of one provider, asked for or on their way to the disk
MOST_RUNS = 32  # of one provider: 160 MB/s at 200 ms
MIN_ROUND_TRIP_S = 0.001
SHARED_RUNS = 48  # beyond the base, of all providers of all transfers


class Room:
    """How many runs there may be beyond what every provider has."""

    def __init__(self, runs: int = SHARED_RUNS) -> None:
        self.left = runs

    def take(self, wanted: int) -> int:
        """As many of those as there are."""
        given = max(0, min(wanted, self.left))
        self.left -= given
        return given

    def give_back(self, runs: int) -> None:
        self.left += runs


def buffers(runs: int) -> list[memoryview]:
    """Memory for so many runs; it is taken when it is first written to.

    Whole pages, because a file may be written past the cache; large ones where the kernel has them, because the first
    touch of so many small ones is dear.
    """
    if not runs:
        return []
    area = mmap(-1, runs * RUN_BYTES, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    with suppress(OSError):
        area.madvise(MADV_HUGEPAGE)
    whole = memoryview(area)
    return [whole[at : at + RUN_BYTES] for at in range(0, len(whole), RUN_BYTES)]


class Line:
    """What the way to a provider is like, from what came and when."""

    def __init__(self, round_trip_s: float, now: float) -> None:
        self._round_trip_s = max(round_trip_s, MIN_ROUND_TRIP_S)
        self._since = now
        self._bytes = 0

    def came(self, count: int, now: float) -> int:
        """Note bytes that came; how many runs are worth having under way now."""
        self._bytes += count
        passed = now - self._since
        if passed < self._round_trip_s:
            return 0
        ahead = self._bytes / passed * self._round_trip_s
        self._since, self._bytes = now, 0
        return min(MOST_RUNS, 2 + math.ceil(2 * ahead / RUN_BYTES))
