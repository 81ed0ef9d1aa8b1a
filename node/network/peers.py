"""Who is connected and has said hello, and what a node remembers of them.

A connection alone proves a peer id; only after `/schwung/hello/1` is the peer one of ours. The dialling side says
hello, so that one exchange informs both.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from node.network.addresses import MAX_ADDRESSES
from node.network.errors import Refuse
from node.network.options import NetworkOptions
from protocols.codec import Message
from protocols.ids import PeerId

HELLO = "/schwung/hello/1"
INTRODUCE = "/schwung/peers/1"
MAX_HELLO_BYTES = 4_096
MAX_INTRODUCTIONS = 16
MAX_INTRODUCTIONS_BYTES = 64 * 1024
MAX_TOPIC = 160  # characters
MAX_TOPICS = 16  # that one question may name
MAX_INTRODUCE_BYTES = 16 * 1024  # characters may take four bytes

OnEvent = Callable[[str, dict[str, object]], None]


class Hello(Message, frozen=True):
    """Who we are. `listen` is where the sender can be dialled."""

    network: str
    chain_id: int
    version: str
    listen: list[str]


class Introduce(Message, frozen=True):
    """Ask for addresses: of one peer, of peers that listen to one of some topics, or (both empty) of any."""

    want: str
    topics: Annotated[list[Annotated[str, Meta(max_length=MAX_TOPIC)]], Meta(max_length=MAX_TOPICS)]


class Introduction(Message, frozen=True):
    """Where a peer can be dialled. Not signed: dialling proves the id."""

    peer: str
    addresses: list[str]


class Peer(msgspec.Struct, frozen=True):
    """A connected peer of our network; `since` in UTC seconds, `score` from 0 (no trouble) to -100 (banned)."""

    peer: PeerId
    addresses: tuple[str, ...]
    inbound: bool
    version: str
    since: int
    score: int = 0


class PeerMemory(Protocol):
    """Where good peers are remembered over restarts; `node.journal.peers` is one."""

    async def met(self, peer: PeerId, addresses: Sequence[str], now: int) -> None:
        """A peer of our network was reached at these addresses."""

    async def failed(self, peer: PeerId) -> None:
        """A remembered peer could not be reached."""

    async def good(self, limit: int) -> list[tuple[PeerId, tuple[str, ...]]]:
        """The peers most worth dialling, best first."""


class NoMemory:
    """Forgets everybody."""

    async def met(self, peer: PeerId, addresses: Sequence[str], now: int) -> None:
        return None

    async def failed(self, peer: PeerId) -> None:
        return None

    async def good(self, limit: int) -> list[tuple[PeerId, tuple[str, ...]]]:
        return []


class PeerBook:
    """The greeted peers of this moment."""

    def __init__(self, on_event: OnEvent) -> None:
        self._greeted: dict[PeerId, Peer] = {}
        self._rng = random.Random()  # noqa: S311 - spreads company, guards nothing
        self._on_event = on_event

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._greeted

    def __len__(self) -> int:
        return len(self._greeted)

    def get(self, peer: PeerId) -> Peer | None:
        return self._greeted.get(peer)

    def all(self) -> list[Peer]:
        """Longest connected first."""
        return list(self._greeted.values())

    def add(self, peer: Peer) -> None:
        """A peer has been greeted; its older entry, if any, is renewed without an event."""
        known = peer.peer in self._greeted
        self._greeted[peer.peer] = peer
        if not known:
            address = peer.addresses[0] if peer.addresses else ""
            self._on_event("peer.connected", {"peer": peer.peer, "address": address, "inbound": peer.inbound})

    def remove(self, peer: PeerId) -> None:
        """The last connection to a peer has ended."""
        if self._greeted.pop(peer, None) is not None:
            self._on_event("peer.disconnected", {"peer": peer})

    def introductions(self, asker: PeerId, who: Callable[[PeerId], bool]) -> list[Introduction]:
        """Peers with an address, for one who asks; some of them when there are many, so that all get company."""
        found = [peer for peer in self._greeted.values() if peer.addresses and peer.peer != asker and who(peer.peer)]
        some = self._rng.sample(found, min(MAX_INTRODUCTIONS, len(found)))
        return [Introduction(peer=peer.peer, addresses=list(peer.addresses)) for peer in some]


def check_hello(hello: Hello, options: NetworkOptions) -> None:
    """Raise Refuse with the reason when the sender belongs elsewhere."""
    if hello.network != options.network_id:
        raise Refuse(f"this is network {options.network_id!r}, you are of {hello.network[:64]!r}", "foreign_network")
    if hello.chain_id != options.chain_id:
        raise Refuse(f"this is chain {options.chain_id}, you are on {hello.chain_id}", "foreign_network")


def own_hello(options: NetworkOptions, addresses: Sequence[str]) -> Hello:
    """What we say of ourselves."""
    return Hello(
        network=options.network_id,
        chain_id=options.chain_id,
        version=options.version,
        listen=list(addresses[:MAX_ADDRESSES]),
    )
