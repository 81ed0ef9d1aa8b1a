"""How much of our time a neighbour may take: token buckets."""

from __future__ import annotations

from typing import Any

import trio

READS = 2_000.0  # reads a second from one neighbour's stream: an RPC takes three or four, also an empty one
READ_BURST = 20_000.0


class Allowance:
    """A token bucket for each neighbour."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left: dict[bytes, tuple[float, float]] = {}

    def take(self, peer: bytes, now: float) -> bool:
        """Whether the neighbour may hand us one more message now."""
        left, at = self._left.get(peer, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        self._left[peer] = (left - 1 if left >= 1 else left, now)
        return left >= 1

    def forget(self, peer: bytes) -> None:
        """Drop a neighbour that has gone."""
        self._left.pop(peer, None)


class Metered:
    """A neighbour's stream, read no faster than `READS`: empty RPCs cost one byte to send and 0.1 ms to handle."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._allowance = Allowance(READS, READ_BURST)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def read(self, n: int | None = None) -> bytes:
        while not self._allowance.take(b"", trio.current_time()):  # noqa: ASYNC110 - only time fills a bucket
            await trio.sleep(0.05)
        data: bytes = await self._stream.read(n)
        return data
