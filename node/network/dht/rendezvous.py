"""Meeting those who listen to what we listen to, when nobody around knows any: provider records of topics.

A topic names the network it is of; its place in the DHT is the sha2-256 multihash of its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from node.network.dht.providing import Finder, Providing
from protocols.ids import PeerId

SHA2_256 = bytes((0x12, 32))  # multihash: code and length
MOST = 8  # listeners of one search
SEARCH_S = 10.0

Found = list[tuple[PeerId, tuple[str, ...]]]


class Dht(Finder, Protocol):
    """Provider records, and where their peers are."""

    async def providers(self, key: bytes, *, limit: int, timeout_s: float) -> list[PeerId]: ...
    def known(self, peer: PeerId) -> tuple[str, ...]: ...


class Rendezvous:
    """Tells the DHT our topics, and finds others by theirs. Run it as a task."""

    def __init__(self, dht: Dht, topics: Callable[[], Sequence[str]]) -> None:
        self._dht = dht
        self._topics = topics
        self._telling = Providing(dht, self._keys)

    def stir(self) -> None:
        """What we listen to has changed."""
        self._telling.stir()

    async def run(self) -> None:
        await self._telling.run()

    async def listeners(self, topic: str) -> Found:
        """Peers that are said to listen to a topic, and where they are; hearsay."""
        peers = await self._dht.providers(place(topic), limit=MOST, timeout_s=SEARCH_S)
        return [(peer, addresses) for peer in peers if (addresses := self._dht.known(peer))]

    async def _keys(self) -> Sequence[bytes]:
        await trio.lowlevel.checkpoint()
        return [place(topic) for topic in self._topics()]


def place(topic: str) -> bytes:
    """The multihash under which listeners to a topic are found."""
    return SHA2_256 + hashlib.sha256(topic.encode()).digest()
