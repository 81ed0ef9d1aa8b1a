"""Events are numbered, replayed, and never hold up who publishes."""

from __future__ import annotations

import trio
import trio.testing

from node.observe.events import QUEUE, EventBus, Subscription


async def taken(events: Subscription, n: int) -> list[int]:
    with trio.fail_after(1):
        return [(await anext(events)).seq for _ in range(n)]


async def test_a_subscriber_hears_its_topics_only() -> None:
    bus = EventBus()
    with bus.subscribe({"deals"}) as events:
        bus.publish("jobs", {})
        bus.publish("deals", {"deal": "d"})
        with trio.fail_after(1):
            event = await anext(events)
    assert (event.seq, event.topic, event.data) == (2, "deals", {"deal": "d"})


async def test_a_star_hears_everything() -> None:
    bus = EventBus()
    with bus.subscribe({"*"}) as events:
        bus.publish("jobs", {})
        bus.publish("deals", {})
        assert await taken(events, 2) == [1, 2]


async def test_since_replays_what_came_after() -> None:
    bus = EventBus()
    for _ in range(5):
        bus.publish("jobs", {})
    with bus.subscribe({"jobs"}, since=3) as events:
        bus.publish("jobs", {})
        assert await taken(events, 3) == [4, 5, 6]
        assert events.dropped == 0


async def test_what_left_the_ring_is_counted() -> None:
    bus = EventBus(ring=4)
    for _ in range(10):
        bus.publish("jobs", {})
    with bus.subscribe({"jobs"}, since=2) as events:
        assert await taken(events, 4) == [7, 8, 9, 10]
        assert events.dropped == 4


async def test_a_slow_reader_loses_the_oldest_and_is_told() -> None:
    bus = EventBus(ring=1)
    with bus.subscribe({"jobs"}) as events:
        for _ in range(QUEUE + 7):
            bus.publish("jobs", {})
        assert events.dropped == 7
        assert await taken(events, 1) == [8]


async def test_a_waiting_reader_wakes_up() -> None:
    bus = EventBus()
    got: list[int] = []

    async def read(events: Subscription) -> None:
        got.extend(await taken(events, 1))

    with bus.subscribe({"jobs"}) as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, events)
            await trio.testing.wait_all_tasks_blocked()
            bus.publish("jobs", {})
    assert got == [1]


async def test_a_closed_subscription_ends_and_is_forgotten() -> None:
    bus = EventBus()
    with bus.subscribe({"jobs"}) as events:
        pass
    bus.publish("jobs", {})
    with trio.fail_after(1):
        assert [event async for event in events] == []
