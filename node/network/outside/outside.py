"""How others come to us: whether they can dial us, the relays if they cannot, and what we lend to those in that place.

A direct way is better than one through a relay, which is bounded and shared: a peer is dialled by its direct addresses
first, and when it has come through a relay although it can be dialled, we dial it. (Both behind a NAT stay with the
relay: punching holes, /libp2p/dcutr, needs a socket bound to the listening port before it connects, which the library's
transport does not offer.)
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
import trio

from node.network.addresses import MAX_ADDRESSES, is_circuit
from node.network.errors import NetworkError
from node.network.links import Links
from node.network.options import NetworkOptions
from node.network.outside import wire
from node.network.outside.circuits import Circuits
from node.network.outside.reachability import Asks, Reachability
from node.network.outside.relay import RelayService
from node.network.outside.reservations import Reservations
from node.network.peers import Peer, PeerBook
from node.network.private import fingerprint
from protocols.errors import ProtocolError
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

STRAIGHTEN_S = 2.0
STRAIGHTEN_AGAIN_S = 300.0
TELL_S = 1.0  # several changes are told as one
AT_ONCE = 4

Meet = Callable[[PeerId, tuple[str, ...]], Awaitable[None]]


class Standing(msgspec.Struct, frozen=True):
    """What `node.status` shows."""

    state: str
    dialled_back: tuple[PeerId, ...]
    observed: tuple[str, ...]
    relays: tuple[PeerId, ...]
    relayed_peers: int
    serving: dict[str, int]
    private_network: str = ""  # the fingerprint of its key


class Outside:
    """The services of one network that have to do with being reached."""

    def __init__(
        self,
        host: Any,
        me: PeerId,
        options: NetworkOptions,
        links: Links,
        book: PeerBook,
        *,
        meet: Meet,
        tell: Callable[[PeerId], Awaitable[None]],
        ask: Asks,
        own: Callable[[], tuple[str, ...]],
    ) -> None:
        self._me = me
        self._links = links
        self._book = book
        self._tell = tell
        self._own = own
        self._changed = trio.Event()
        self._straightened: dict[PeerId, float] = {}
        forced = None if options.reachability == "auto" else options.reachability
        self.reachability = Reachability(
            host,
            links,
            book,
            ask=ask,
            ports=self._ports,
            key=options.private_key,
            forced=forced,
            changed=self._change,
        )
        self.reservations = Reservations(me, links, book, self._wants_relays, self._change)
        self._use_relays = options.use_relays
        self._fingerprint = fingerprint(options.private_key) if options.private_key else ""
        self._circuits = Circuits(
            host, links, meet=meet, reserved=self.reservations.__contains__, key=options.private_key
        )
        links.through = self._circuits.dial
        self.relay: RelayService | None = None
        if options.relay is not None:
            self.relay = RelayService(links, options.relay, self._lends_to, own, time.time)
            host.set_stream_handler(wire.HOP, self.relay.serve)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where we can be dialled: what we listen on or announce, what others found, and the ways through relays."""
        ways = self.reservations.addresses
        found = (f"{address}/p2p/{self._me}" for address in self.reachability.confirmed)
        direct = tuple(dict.fromkeys((*found, *self._own())))
        return direct[: MAX_ADDRESSES - len(ways)] + ways

    @property
    def standing(self) -> Standing:
        """Reachability at this moment."""
        relay = self.relay
        return Standing(
            state=self.reachability.state,
            dialled_back=self.reachability.dialled_back,
            observed=self.reachability.observed,
            relays=self.reservations.relays,
            relayed_peers=sum(bool(self._links.relays(peer.peer)) for peer in self._book.all()),
            serving={"reservations": relay.reservations, "circuits": relay.circuits} if relay else {},
            private_network=self._fingerprint,
        )

    async def run(self, nursery: trio.Nursery) -> None:
        """Start what runs beside the callers."""
        nursery.start_soon(self.reachability.run)
        nursery.start_soon(self.reservations.run)
        nursery.start_soon(self._keep_told)
        nursery.start_soon(self._straighten)

    def gone(self, peer: PeerId) -> None:
        """A connection to a peer has ended; others may stand."""
        self.reservations.gone(peer)
        if self.relay and not self._links.direct(peer):
            self.relay.gone(peer)
        if not self._links.connected(peer):
            self._straightened.pop(peer, None)

    def _ports(self) -> tuple[int, ...]:
        parts = (address.split("/") for address in self._own())
        return tuple(dict.fromkeys(int(part[4]) for part in parts if part[3] == "tcp"))

    def _wants_relays(self) -> bool:
        return self._use_relays and self.reachability.state == "private"

    def _lends_to(self, peer: PeerId) -> bool:
        return peer in self._book and self.reachability.state != "private"

    def _change(self) -> None:
        self._changed.set()
        self.reservations.wake()

    async def _keep_told(self) -> None:
        """Say hello again to everybody when our addresses have changed: they hand them on."""
        told = self.addresses
        while True:
            await self._changed.wait()
            await trio.sleep(TELL_S)
            self._changed = trio.Event()
            if self.addresses == told:
                continue
            told = self.addresses
            slots = trio.CapacityLimiter(AT_ONCE)
            async with trio.open_nursery() as nursery:
                for peer in self._book.all():
                    nursery.start_soon(self._retell, peer.peer, slots)

    async def _retell(self, peer: PeerId, slots: trio.CapacityLimiter) -> None:
        async with slots:
            try:
                await self._tell(peer)
            except (NetworkError, ProtocolError) as err:
                log.debug("peer not told", peer=peer, error=str(err))

    async def _straighten(self) -> None:
        """Dial those who came through a relay and can be dialled, and leave the relay when the direct way stands."""
        slots = trio.CapacityLimiter(AT_ONCE)
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(STRAIGHTEN_S)
                now = trio.current_time()
                for peer in self._book.all():
                    if not self._links.relays(peer.peer):
                        await self._links.leave_relays(peer.peer)
                    elif self._straightened.get(peer.peer, 0) <= now:
                        self._straightened[peer.peer] = now + STRAIGHTEN_AGAIN_S
                        nursery.start_soon(self._dial_directly, peer, slots)

    async def _dial_directly(self, peer: Peer, slots: trio.CapacityLimiter) -> None:
        async with slots:
            ways = [address for address in peer.addresses if not is_circuit(address)]
            if await self._links.straighten(peer.peer, ways):
                log.info("relay no longer needed", peer=peer.peer)
