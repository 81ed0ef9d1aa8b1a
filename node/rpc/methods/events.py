"""events: hear what happens. Notifications are `events.event {subscription, seq, topic, data}`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from node.observe.events import EventBus, Subscription
from node.rpc.connection import Caller
from node.rpc.errors import NotFound
from node.rpc.method import Method
from node.rpc.values import Name, Result

Topics = Annotated[list[Name], Meta(min_length=1, max_length=32)]
Seq = Annotated[int, Meta(ge=0)]


def methods(bus: EventBus) -> list[Method]:
    """Subscribe and unsubscribe; a subscription ends with its connection."""

    async def subscribe(topics: Topics, caller: Caller, since: Seq | None = None) -> Result:
        """Hear topics (`*` is all), first what came after `since`.

        A client that reads too slowly loses the oldest events and is told by `events.dropped {subscription, dropped}`.
        """
        after = bus.seq if since is None else since  # an event between this answer and the first await is not lost
        id = caller.follow(lambda id: _forward(bus, topics, after, caller, id))
        return {"subscription": id, "seq": bus.seq}

    async def unsubscribe(subscription: Name, caller: Caller) -> Result:
        """End a subscription of this connection."""
        if not caller.drop(subscription):
            raise NotFound(f"this connection has no subscription {subscription}")
        return {"ok": True}

    return [Method("events.subscribe", subscribe), Method("events.unsubscribe", unsubscribe)]


async def _forward(bus: EventBus, topics: list[str], since: int, caller: Caller, id: str) -> None:
    with bus.subscribe(topics, since) as events:
        told = 0
        async for event in events:
            told = await _tell_dropped(events, told, caller, id)
            shown = {"seq": event.seq, "topic": event.topic, "data": event.data}
            await caller.notify("events.event", {"subscription": id, **shown})


async def _tell_dropped(events: Subscription, told: int, caller: Caller, id: str) -> int:
    if events.dropped > told:
        await caller.notify("events.dropped", {"subscription": id, "dropped": events.dropped - told})
    return events.dropped
