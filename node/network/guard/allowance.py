"""How much of our time a peer may take: token buckets."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import trio

KNOWN = 4_096  # buckets; the one not used for longest is forgotten first, and would be full by then
READS = 2_000.0  # reads a second from one neighbour's stream: an RPC takes three or four, also an empty one
READ_BURST = 20_000.0


class Allowance:
    """A token bucket for each peer, or whatever the key is."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, peer: Hashable, now: float, amount: float = 1.0) -> bool:
        """Whether the peer may hand us one more message now, or `amount` of what is counted."""
        left, at = self._left.get(peer, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        enough = left >= amount
        self._left[peer] = (left - amount if enough else left, now)
        self._left.move_to_end(peer)
        if len(self._left) > KNOWN:
            self._left.popitem(last=False)
        return enough

    def take_some(self, peer: Hashable, now: float, most: int) -> int:
        """As many as the peer may have now, at most `most`; they are taken."""
        left, at = self._left.get(peer, (self._burst, now))
        some = min(most, int(min(self._burst, left + (now - at) * self._rate)))
        self.take(peer, now, some)
        return some

    def forget(self, peer: Hashable) -> None:
        """Drop a peer that has gone."""
        self._left.pop(peer, None)


class Metered:
    """A stream, read no faster than `rate` reads a second: empty RPCs cost one byte to send and 0.1 ms to handle."""

    def __init__(self, stream: Any, rate: float = READS, burst: float = READ_BURST) -> None:
        self._stream = stream
        self._allowance = Allowance(rate, burst)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def read(self, n: int | None = None) -> bytes:
        while not self._allowance.take(b"", trio.current_time()):  # noqa: ASYNC110 - only time fills a bucket
            await trio.sleep(0.05)
        data: bytes = await self._stream.read(n)
        return data
