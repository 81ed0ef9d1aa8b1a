"""peers: with whom this node is connected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from node.rpc.method import Method
from node.rpc.values import Name, Result, items
from protocols.ids import PeerId, parse_peer_id

Address = Annotated[str, Meta(min_length=1, max_length=256)]


class Network(Protocol):
    """What the network does for this noun."""

    def peers(self) -> Sequence[msgspec.Struct]: ...
    async def connect(self, address: str) -> PeerId: ...
    async def disconnect(self, peer: PeerId) -> None: ...
    async def ping(self, peer: PeerId, *, timeout_s: float = 5.0) -> float: ...
    def relays(self, peer: PeerId) -> Sequence[PeerId]: ...
    def banned(self) -> Sequence[msgspec.Struct]: ...
    async def pardon(self, peer: PeerId) -> bool: ...


def methods(network: Network) -> list[Method]:
    """List, add, remove, ping; who is banned, and pardon."""

    async def listed() -> Result:
        """The peers this node is connected with."""
        return items(network.peers())

    async def add(addr: Address) -> Result:
        """Connect to a peer by its multiaddress, /ip4/…/tcp/…/p2p/…; a ban is lifted."""
        return {"peer": await network.connect(addr)}

    async def remove(peer: Name) -> Result:
        """Disconnect from a peer."""
        await network.disconnect(parse_peer_id(peer))
        return {"peer": peer}

    async def ping(peer: Name) -> Result:
        """Measure the time of a round trip to a peer; `relays` carry it when the peer cannot be dialled."""
        seconds = await network.ping(parse_peer_id(peer))
        return {"peer": peer, "ms": round(seconds * 1000, 2), "relays": list(network.relays(parse_peer_id(peer)))}

    async def banned() -> Result:
        """The peers that are refused for a while because they wasted our time: why, until when, how often."""
        return items(network.banned())

    async def pardon(peer: Name) -> Result:
        """Lift the ban of a peer and forget what it did."""
        return {"peer": peer, "lifted": await network.pardon(parse_peer_id(peer))}

    return [
        Method("peers.list", listed),
        Method("peers.add", add),
        Method("peers.remove", remove),
        Method("peers.ping", ping),
        Method("peers.banned", banned),
        Method("peers.pardon", pardon),
    ]
