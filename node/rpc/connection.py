"""What a method may know of who calls it: enough to push notifications for as long as the connection lives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

Work = Callable[[str], Awaitable[None]]


class Caller(Protocol):
    """The connection of a call."""

    async def notify(self, method: str, params: object) -> None:
        """Send a notification; waits while the client reads slowly."""

    def follow(self, work: Work) -> str:
        """Run `work(id)` until the connection closes or it is dropped; returns the id."""

    def drop(self, id: str) -> bool:
        """End what `follow` began; False when there is no such id."""
