"""The event stream of a node: numbered, kept for a while, never blocking who publishes.

    with bus.subscribe({"deals", "jobs"}, since=17) as events:
        async for event in events:
            ...

Overflow drops the oldest event of the slow subscriber and counts it in `events.dropped`. Everything here belongs to the
trio thread; a worker thread publishes through `trio.from_thread.run_sync`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import msgspec
import trio

RING = 1024  # some minutes of a busy node: enough for a client that reconnects
QUEUE = 256  # a subscriber this far behind is not reading; what it misses stands in the ring
EVERYTHING = "*"


class Event(msgspec.Struct, frozen=True):
    """One thing that happened; `seq` grows by one over all topics since the start of the process."""

    seq: int
    topic: str
    data: Mapping[str, object]


class Subscription:
    """An async iterator over events, bounded, oldest dropped first."""

    def __init__(self, topics: frozenset[str], size: int = QUEUE) -> None:
        self._topics = topics
        self._queue: deque[Event] = deque()
        self._size = size
        self._ready = trio.Event()
        self._closed = False
        self.dropped = 0

    def wants(self, topic: str) -> bool:
        return topic in self._topics or EVERYTHING in self._topics

    def offer(self, event: Event) -> None:
        """Take an event in; called by the bus."""
        if len(self._queue) == self._size:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(event)
        self._ready.set()

    def close(self) -> None:
        self._closed = True
        self._ready.set()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        await trio.lowlevel.checkpoint()
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._ready = trio.Event()
            await self._ready.wait()
        return self._queue.popleft()


class EventBus:
    """Numbers events, keeps the last `RING`, and hands them to subscribers."""

    def __init__(self, ring: int = RING) -> None:
        self._ring: deque[Event] = deque(maxlen=ring)
        self._seq = 0
        self._subscriptions: set[Subscription] = set()

    @property
    def seq(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._seq

    def publish(self, topic: str, data: Mapping[str, object]) -> Event:
        """Number and distribute an event. `data` must be JSON values and hold no secret and no payload."""
        self._seq += 1
        event = Event(self._seq, topic, data)
        self._ring.append(event)
        for subscription in self._subscriptions:
            if subscription.wants(topic):
                subscription.offer(event)
        return event

    @contextmanager
    def subscribe(self, topics: Collection[str], since: int | None = None) -> Iterator[Subscription]:
        """Listen to topics (`*` is all); with `since`, first replay what came after that number.

        Events that have left the ring since then are counted as dropped, of whatever topic they were.
        """
        subscription = Subscription(frozenset(topics), max(QUEUE, self._ring.maxlen or 0))
        if since is not None:
            self._replay(subscription, since)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            subscription.close()

    def _replay(self, subscription: Subscription, since: int) -> None:
        if self._ring:
            subscription.dropped = max(0, self._ring[0].seq - since - 1)
        for event in self._ring:
            if event.seq > since and subscription.wants(event.topic):
                subscription.offer(event)
