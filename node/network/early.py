"""A request that goes out together with the proposal of its protocol: one round trip in place of three.

multistream-select answers proposals in their order, so whoever knows that a peer speaks a protocol need not wait for
its yes before writing on: go-libp2p calls it lazy negotiation, and a stock peer notices nothing. We do it only

- for a protocol that the same connection has agreed to before: a peer that does not speak it would read our request as
  further proposals, and other people's words in it could name one;
- for requests that may be processed twice: when the stream breaks before the yes, nobody knows whether this one was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from node.network.errors import PeerRefused
from node.network.streams import IDLE_S, Dialogue
from protocols.framing import frame

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


class EarlyDialogue(Dialogue):
    """One request and its reply, with the proposal before the one and the agreement before the other."""

    def __init__(self, stream: Any, protocol: str) -> None:
        super().__init__(stream)
        self._protocol = protocol
        self._agreed = False

    async def send(self, body: bytes, *, timeout_s: float = IDLE_S) -> None:
        """As `Dialogue.send`, once."""
        proposal = _line(MULTISTREAM) + _line(self._protocol)
        await self.send_framed(memoryview(proposal + frame(body)), timeout_s=timeout_s)

    async def receive(self, *, max_bytes: int, timeout_s: float = IDLE_S) -> bytes:
        """As `Dialogue.receive`. Raises PeerRefused when the peer does not speak the protocol any more."""
        if not self._agreed:
            for expected in (_line(MULTISTREAM), _line(self._protocol)):
                length = await self._take(1, timeout_s)
                if length + await self._take(length[0], timeout_s) != expected:
                    raise PeerRefused(f"{self.peer} does not speak {self._protocol} any more", "unknown_protocol")
            self._agreed = True
        return await super().receive(max_bytes=max_bytes, timeout_s=timeout_s)


def _line(text: str) -> bytes:
    """A message of multistream-select: its length as a varint, then the text and a newline."""
    line = text.encode() + b"\n"
    return bytes([len(line)]) + line
