"""A network without sockets: several nodes' wires joined by one hub, for tests of what travels, not of how.

Delivery is immediate and in order; a peer that is `away` neither hears nor answers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import trio

from node.network.errors import PeerUnreachable
from node.network.guard.conduct import Fault
from protocols.errors import ProtocolError
from protocols.ids import PeerId

Handler = Callable[[PeerId, bytes], Awaitable[bytes]]
Check = Callable[[PeerId, bytes], bool]


class Message(msgspec.Struct, frozen=True):
    topic: str
    peer: PeerId
    data: bytes


class Neighbour(msgspec.Struct, frozen=True):
    peer: PeerId
    since: int = 0


class Hub:
    """Everybody hears everybody."""

    def __init__(self) -> None:
        self.wires: dict[PeerId, Wire] = {}
        self.away: set[PeerId] = set()

    def wire(self, peer: str) -> Wire:
        """A new node on this hub."""
        made = self.wires[PeerId(peer)] = Wire(self, PeerId(peer))
        return made

    def leave(self, wire: Wire) -> None:
        """A node is gone; a new one may have taken its place already."""
        if self.wires.get(wire.peer_id) is wire:
            del self.wires[wire.peer_id]

    def others(self, peer: PeerId) -> list[PeerId]:
        return [p for p in self.wires if p != peer and p not in self.away and peer not in self.away]


class Wire:
    """One node's end."""

    def __init__(self, hub: Hub, peer_id: PeerId) -> None:
        self.peer_id = peer_id
        self._hub = hub
        self._handlers: dict[str, Handler] = {}
        self._topics: dict[str, tuple[Check, trio.MemorySendChannel[Message]]] = {}
        self.refused: list[bytes] = []
        self.blamed: list[tuple[PeerId, str]] = []

    def peers(self) -> Sequence[Neighbour]:
        return [Neighbour(peer) for peer in self._hub.others(self.peer_id)]

    def blame(self, peer: PeerId, fault: Fault) -> None:
        self.blamed.append((peer, fault.what))

    def serve(self, protocol: str, handler: Handler, *, max_request_bytes: int, concurrency: int) -> None:
        self._handlers[protocol] = handler

    async def request(
        self, peer: PeerId, protocol: str, body: bytes, *, timeout_s: float, max_reply_bytes: int,
        repeatable: bool = False,
    ) -> bytes:  # fmt: skip
        await trio.lowlevel.checkpoint()
        if peer not in self._hub.others(self.peer_id):
            raise PeerUnreachable(f"{peer} is away")
        handlers = self._hub.wires[peer]._handlers
        if protocol not in handlers:
            raise PeerUnreachable(f"{peer} is not ready yet")
        try:
            return await handlers[protocol](self.peer_id, body)
        except sqlite3.ProgrammingError as err:  # its journal was closed under the question: it is gone
            raise PeerUnreachable(f"{peer} has just left") from err

    async def subscribe(self, topic: str, check: Check) -> trio.MemoryReceiveChannel[Message]:
        send, receive = trio.open_memory_channel[Message](256)
        self._topics[topic] = (check, send)
        await trio.lowlevel.checkpoint()
        return receive

    async def publish(self, topic: str, data: bytes) -> None:
        for peer in self._hub.others(self.peer_id):
            other = self._hub.wires[peer]
            if topic in other._topics:
                check, send = other._topics[topic]
                if _passes(check, self.peer_id, data):
                    await send.send(Message(topic=topic, peer=self.peer_id, data=data))
                else:
                    other.refused.append(data)


def _passes(check: Check, author: PeerId, data: bytes) -> bool:
    try:
        return check(author, data)
    except ProtocolError:
        return False
