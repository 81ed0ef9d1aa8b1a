"""Connections that only a search has made: they end, oldest first, when many stand, so that there is room for others.

One that is being asked, that somebody wants, or on which anything but gossip is under way, stays.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from node.network.addresses import to_id
from node.network.links import Links
from protocols.ids import PeerId

KEPT = 16  # connections in all, below which no guest has to go


class Guests:
    """The guests of one host; `most` is how many connections of any kind may stand."""

    def __init__(self, host: Any, links: Links, most: int, wanted: Callable[[PeerId], bool]) -> None:
        self._swarm = host.get_network()
        self._links = links
        self._room = max(KEPT, most // 2)
        self._wanted = wanted
        self._guests: OrderedDict[PeerId, None] = OrderedDict()
        self._busy: Counter[PeerId] = Counter()

    @asynccontextmanager
    async def asking(self, peer: PeerId) -> AsyncIterator[None]:
        """A peer is being asked; when it has to be dialled for that, it is a guest, and another may have to go."""
        self._busy[peer] += 1
        try:
            async with self._links.alone(peer):  # a farewell that has begun has to end first
                connected = self._links.connected(peer)
            if not connected:
                await self.part(self._room - 1)
                self._guests[peer] = None
            yield
        finally:
            self._busy[peer] -= 1
            if not self._busy[peer]:
                del self._busy[peer]
            if not self._links.connected(peer):
                self.forget(peer)

    def forget(self, peer: PeerId) -> None:
        """It has gone."""
        self._guests.pop(peer, None)

    async def part(self, room: int | None = None) -> None:
        """End connections until there is room, or none is left that may end."""
        for peer in list(self._guests):
            if len(self._swarm.connections) <= (self._room if room is None else room):
                return
            if self._wanted(peer):
                self.forget(peer)
            elif not self._busy[peer] and self._idle(peer):
                self.forget(peer)
                async with self._links.alone(peer):
                    if not self._busy[peer]:
                        await self._links.hang_up(peer)

    def _idle(self, peer: PeerId) -> bool:
        streams = [stream for conn in self._swarm.get_connections(to_id(peer)) for stream in conn.get_streams()]
        return all(str(stream.get_protocol()).startswith("/meshsub/") for stream in streams)
