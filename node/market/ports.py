"""What the market needs of the services below it, as small as it needs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from node.network.guard.conduct import Fault
from protocols.ids import Address, PeerId

Handler = Callable[[PeerId, bytes], Awaitable[bytes]]


class Message(Protocol):
    """What a topic carries; `peer` is the author that the transport proved, not the neighbour who handed it on."""

    @property
    def topic(self) -> str: ...
    @property
    def peer(self) -> PeerId: ...
    @property
    def data(self) -> bytes: ...


class Messages(Protocol):
    """What is heard on a topic; ends with trio.EndOfChannel."""

    async def receive(self) -> Message: ...
    def receive_nowait(self) -> Message:
        """The next one if it is here. Raises trio.WouldBlock."""
        ...


class Neighbour(Protocol):
    """A connected peer; `since` tells one connection from the next."""

    @property
    def peer(self) -> PeerId: ...
    @property
    def since(self) -> int: ...


class Wire(Protocol):
    """The network as the market uses it."""

    @property
    def peer_id(self) -> PeerId: ...
    def peers(self) -> Sequence[Neighbour]: ...
    async def request(
        self,
        peer: PeerId,
        protocol: str,
        body: bytes,
        *,
        timeout_s: float,
        max_reply_bytes: int,
        repeatable: bool = False,
    ) -> bytes:
        """One request, one reply; a repeatable one may be processed twice and is quicker."""
        ...

    def blame(self, peer: PeerId, fault: Fault) -> None: ...
    def serve(self, protocol: str, handler: Handler, *, max_request_bytes: int, concurrency: int) -> None: ...
    async def publish(self, topic: str, data: bytes) -> object: ...
    async def subscribe(self, topic: str, check: Callable[[PeerId, bytes], bool]) -> Messages: ...


class OnOffer(Protocol):
    """Which own records may be told of."""

    def offer_of(self, record: str) -> str | None:
        """The own open offer that contains a record."""
        ...


class Signer(Protocol):
    """The wallet as the market uses it; `sign` raises when it is locked."""

    @property
    def address(self) -> Address: ...
    def sign(self, digest: bytes) -> bytes: ...


class Events(Protocol):
    """Where state changes are told."""

    def publish(self, topic: str, data: dict[str, object]) -> object: ...
