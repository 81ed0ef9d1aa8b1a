"""How a new stream comes to a protocol: multistream-select with fewer round trips than its words.

It answers in order, so nobody has to wait for an answer before writing on: go-libp2p calls it lazy negotiation, and a
stock peer notices nothing. Its header and our proposal always leave together (`propose`): one round trip in place of
two. A request may leave with them (`EarlyDialogue`): one in place of two again. That we do only

- for a protocol that the same connection has agreed to before: a peer that does not speak it would read our request as
  further proposals, and other people's words in it could name one;
- for requests that may be processed twice: when the stream breaks before the yes, nobody knows whether this one was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from node.network.errors import PeerRefused, PeerVanished
from node.network.streams import IDLE_S, Dialogue
from protocols.framing import frame
from protocols.ids import PeerId

MULTISTREAM = "/multistream/1.0.0"
LONGEST_LINE = 127  # of the lengths that are one byte


class Spoken:
    """Which protocols each living connection has agreed to."""

    def __init__(self) -> None:
        self._by_connection: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()

    def note(self, connection: Any, protocol: str) -> None:
        """A muxed connection has agreed to a protocol."""
        self._by_connection.setdefault(connection, set()).add(protocol)

    def by_all(self, connections: Iterable[Any], protocol: str) -> bool:
        """Whether all of these, and at least one, have agreed to a protocol: a stream may be opened on any of them."""
        found = [protocol in self._by_connection.get(one, ()) for one in connections]
        return bool(found) and all(found) and len(protocol) < LONGEST_LINE


async def propose(stream: Any, peer: PeerId, protocol: str) -> None:
    """Agree on a protocol for a new stream of the library. Raises PeerRefused, PeerVanished, the library's errors."""

    async def take(count: int) -> bytes:
        taken = b""
        while len(taken) < count:  # never more: what follows belongs to the protocol
            piece = await stream.read(count - len(taken))
            if not piece:
                raise PeerVanished(f"{peer} ended the stream")
            taken += piece
        return taken

    await stream.write(_proposal(protocol))
    await _hear_agreement(take, peer, protocol)


class EarlyDialogue(Dialogue):
    """One request and its reply, with the proposal before the one and the agreement before the other."""

    def __init__(self, stream: Any, protocol: str) -> None:
        super().__init__(stream)
        self._protocol = protocol
        self._agreed = False

    async def send(self, body: bytes, *, timeout_s: float = IDLE_S) -> None:
        """As `Dialogue.send`, once."""
        await self.send_framed(memoryview(_proposal(self._protocol) + frame(body)), timeout_s=timeout_s)

    async def receive(self, *, max_bytes: int, timeout_s: float = IDLE_S) -> bytes:
        """As `Dialogue.receive`. Raises PeerRefused when the peer does not speak the protocol any more."""
        if not self._agreed:
            await _hear_agreement(lambda count: self._take(count, timeout_s), self.peer, self._protocol)
            self._agreed = True
        return await super().receive(max_bytes=max_bytes, timeout_s=timeout_s)


def _proposal(protocol: str) -> bytes:
    return _line(MULTISTREAM) + _line(protocol)


async def _hear_agreement(take: Callable[[int], Awaitable[bytes]], peer: PeerId, protocol: str) -> None:
    """Both answers to a proposal; `take` gives exactly so many bytes. Raises PeerRefused."""
    for expected in (_line(MULTISTREAM), _line(protocol)):
        length = await take(1)
        if length + await take(length[0]) != expected:
            raise PeerRefused(f"{peer} does not speak {protocol}", "unknown_protocol")


def _line(text: str) -> bytes:
    """A message of multistream-select: its length as a varint, then the text and a newline."""
    line = text.encode() + b"\n"
    return bytes([len(line)]) + line
