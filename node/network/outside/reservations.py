"""Being reached through others: the places that a node which cannot be dialled keeps at relays among its peers."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import msgspec
import structlog
import trio

from node.network.addresses import CIRCUIT, is_circuit
from node.network.errors import NetworkError, PeerRefused
from node.network.host import drop
from node.network.links import Links
from node.network.outside import wire
from node.network.outside.circuits import check_status
from node.network.outside.relay import part
from node.network.outside.wire import HopMessage
from node.network.peers import Peer, PeerBook
from node.network.streams import BROKEN
from protocols.errors import Malformed
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

RELAYS = 2  # one may leave, and its peers find the other
ADDRESSES = 2  # of one relay
LOOK_S = 5.0
SHORTEST_S, LONGEST_S = 120, 86_400  # what we believe of a reservation's end
AGAIN_S = 120.0  # a relay that was full
NEVER_S = 3_600.0  # a peer that is no relay


class Place(msgspec.Struct, frozen=True):
    """A reservation; times of trio's clock."""

    addresses: tuple[str, ...]
    renew_at: float
    until: float


class Reservations:
    """Runs as one task of the network."""

    def __init__(
        self, me: PeerId, links: Links, book: PeerBook, wanted: Callable[[], bool], changed: Callable[[], None]
    ) -> None:
        self._me = me
        self._links = links
        self._book = book
        self._wanted = wanted
        self._changed = changed
        self._places: dict[PeerId, Place] = {}
        self._not_before: dict[PeerId, float] = {}
        self._woken = trio.Event()

    def __contains__(self, relay: PeerId) -> bool:
        place = self._places.get(relay)
        return place is not None and place.until > trio.current_time()

    @property
    def relays(self) -> tuple[PeerId, ...]:
        """Where we have a place."""
        return tuple(self._places)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where we can be dialled by way of the relays; the first of each relay first."""
        places = [place.addresses for place in self._places.values()]
        return tuple(way[n] for n in range(ADDRESSES) for way in places if n < len(way))

    def gone(self, peer: PeerId) -> None:
        """A connection has ended; a relay keeps a place only for who is connected."""
        self._not_before.pop(peer, None)
        if peer in self._places and not self._links.direct(peer):
            del self._places[peer]
            log.info("relay lost", relay=peer)
            self._changed()
            self.wake()

    def wake(self) -> None:
        """Look at once whether places are missing."""
        self._woken.set()

    async def run(self) -> None:
        while True:
            now = trio.current_time()
            if not self._wanted():
                if self._places:
                    self._places.clear()
                    self._changed()
            else:
                for relay, place in list(self._places.items()):
                    if place.renew_at <= now:
                        await self._reserve(relay)
                for relay in self._candidates():
                    if len(self._places) >= RELAYS:
                        break
                    await self._reserve(relay)
            self._woken = trio.Event()
            with trio.move_on_after(LOOK_S):
                await self._woken.wait()

    def _candidates(self) -> list[PeerId]:
        """Peers that may be relays; those we dialled first, because they can be dialled."""
        now = trio.current_time()
        fit = [
            peer
            for peer in self._book.all()
            if peer.peer not in self._places
            and self._not_before.get(peer.peer, 0) <= now
            and ways_through(peer, self._me)
            and self._links.direct(peer.peer)
        ]
        return [peer.peer for peer in sorted(fit, key=lambda peer: peer.inbound)]

    async def _reserve(self, relay: PeerId) -> None:
        known = self._places.get(relay)
        try:
            seconds = await self._ask(relay)
        except (NetworkError, Malformed, *BROKEN) as err:
            no_relay = isinstance(err, PeerRefused) and err.reason == "unknown_protocol"
            self._not_before[relay] = trio.current_time() + (NEVER_S if no_relay else AGAIN_S)
            log.debug("no place at a relay", relay=relay, error=str(err))
            if known and known.until <= trio.current_time() + LOOK_S:
                self._places.pop(relay, None)
                self._changed()
            return
        peer = self._book.get(relay)
        if peer is None:
            return
        now = trio.current_time()
        self._places[relay] = Place(ways_through(peer, self._me), now + seconds / 2, now + seconds)
        if known is None or known.addresses != self._places[relay].addresses:
            log.info("reachable through a relay", relay=relay)
            self._changed()

    async def _ask(self, relay: PeerId) -> float:
        stream: Any = await self._links.stream(relay, wire.HOP)
        try:
            await wire.send(stream, HopMessage(type=HopMessage.RESERVE))
            reply = await wire.receive(stream, HopMessage)
            check_status(reply)
        except BaseException:
            await drop(stream)
            raise
        await part(stream)
        return min(max(float(reply.reservation.expire) - time.time(), SHORTEST_S), LONGEST_S)


def ways_through(relay: Peer, me: PeerId) -> tuple[str, ...]:
    """Our addresses by way of a relay: over those of its own that lead furthest."""
    direct = sorted((own for own in relay.addresses if not is_circuit(own)), key=_nearness)
    return tuple(f"{own}{CIRCUIT}/p2p/{me}" for own in direct[:ADDRESSES])


def _nearness(address: str) -> int:
    """0 for an address of the Internet, 1 for one of a local network, 2 for this machine."""
    kind, host = address.split("/")[1:3]
    if kind not in ("ip4", "ip6"):
        return 0
    where = ip_address(host)
    return 2 if where.is_loopback else 0 if where.is_global else 1
