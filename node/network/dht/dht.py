"""Provider records: who has which content, kept by the peers nearest to its hash.

Two Kademlia networks, one key space. Among our own nodes it is `/schwung/<network id>/kad/1.0.0`, asked by greeted
peers only, so that no foreign network grows into our tables. To IPFS peers that are connected we speak as a client of
`/ipfs/lan/kad/1.0.0` (private addresses) or `/ipfs/kad/1.0.0`: they keep our records and tell us theirs, but we answer
nothing there: a server of the public DHT is asked thousands of times a minute by strangers.

The part of the specification that provider records need (FIND_NODE, ADD_PROVIDER, GET_PROVIDERS) is written anew over
the library's protobuf, in the files whose names begin with `dht`. The library's KadDHT (0.8.1) takes and answers values
besides, adds every asker to its table, waits for a silent stream without a deadline in one of twelve places for all,
keeps records without any bound and writes all of them to the disk for each one that comes, dials whatever address
anybody names, and takes more time and CPU (`python -m tests.bench.dht`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
import trio
from libp2p.custom_types import TProtocol

from node.network.addresses import MAX_ADDRESSES, parse_peer_address
from node.network.dht.answers import Answering
from node.network.dht.guests import Guests
from node.network.dht.records import Records
from node.network.dht.table import K, Table
from node.network.dht.walk import Face, Gathered, is_public, remote_ip
from node.network.dht.wire import Contact
from node.network.errors import NetworkError, PeerUnreachable
from node.network.guard.conduct import Fault
from node.network.links import Links
from node.network.options import NetworkOptions
from node.network.peers import PeerBook
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

IPFS_PRIVATE, IPFS_PUBLIC = "/ipfs/lan/kad/1.0.0", "/ipfs/kad/1.0.0"
PROVIDE_S = 60.0
KNOWN = 4_096  # peers whose addresses were heard in a search
SWEEP_S = 600.0
IPFS_RETRY_S = 30.0


class Dht:
    """One per network, made by it; with `NetworkOptions.dht` off it answers nobody and finds nothing."""

    def __init__(
        self,
        host: Any,
        me: PeerId,
        options: NetworkOptions,
        *,
        book: PeerBook,
        links: Links,
        ensure: Callable[[PeerId, tuple[str, ...]], Awaitable[None]],
        own_addresses: Callable[[], Sequence[str]],
        blame: Callable[[PeerId, Fault], None],
        wanted: Callable[[PeerId], bool],
    ) -> None:
        self._host = host
        self._me = me
        self._options = options
        self._book = book
        self._links = links
        self._ensure = ensure
        self._own_addresses = own_addresses
        self._table = Table(me)
        self._ipfs_peers = [(parse_peer_address(address)[0], address) for address in options.ipfs_peers]
        self._own: set[bytes] = set()
        self._known: OrderedDict[PeerId, tuple[str, ...]] = OrderedDict()
        held = {peer for peer, _ in self._ipfs_peers}
        self._guests = Guests(host, links, options.max_connections, lambda peer: peer in held or wanted(peer))
        self.records = Records(lambda peer: peer in book)
        self.answering = Answering(self, self.records, lambda peer: peer in book, blame)
        name = f"/schwung/{options.network_id}/kad/1.0.0"
        ours = Face(host, me, names=lambda _peer: [name], near=self.near, meet=self._meet, echoes=True)
        ipfs = Face(host, me, names=self._ipfs_name, near=self._near_ipfs, meet=self._meet_ipfs, echoes=False)
        self._faces = (ours, ipfs) if options.dht else ()
        if options.dht:
            host.set_stream_handler(TProtocol(name), self.answering.serve)

    async def provide(self, key: bytes) -> int:
        """Tell the peers nearest to a multihash that we have its content; how many of them have taken that."""
        if not self._faces:
            return 0
        self._own.add(key)
        told: list[int] = []

        async def tell(face: Face) -> None:
            told.append(await face.tell(key, self._contact()))

        with trio.move_on_after(PROVIDE_S):
            async with trio.open_nursery() as nursery:
                for face in self._faces:
                    nursery.start_soon(tell, face)
        await self._guests.part()
        return sum(told)

    def withdraw(self, key: bytes) -> None:
        """Say no longer that we have it; what others keep of us runs out."""
        self._own.discard(key)

    async def providers(self, key: bytes, *, limit: int, timeout_s: float) -> list[PeerId]:
        """Peers that are said to have the content of a multihash, likeliest first; `network.reach` finds them.

        Hearsay: whoever fetches must check what comes.
        """
        gathered = Gathered()
        now = trio.current_time()
        gathered.hear(
            self._me, [self.contact_of(peer) for peer in self.records.providers(key, now) if peer != self._me]
        )
        with trio.move_on_after(timeout_s):
            async with trio.open_nursery() as nursery:
                for face in self._faces:
                    nursery.start_soon(face.gather, key, gathered, limit)
        best = gathered.best(limit)
        for contact in best:
            self.remember(contact)
        await self._guests.part()
        return [contact.peer for contact in best]

    def known(self, peer: PeerId) -> tuple[str, ...]:
        """Addresses of a peer that a search has brought."""
        contact = self._table.get(peer)
        return self._known.get(peer, ()) or (contact.addresses if contact else ())

    def gone(self, peer: PeerId) -> None:
        """The last connection to a peer has ended."""
        self._guests.forget(peer)

    async def run(self) -> None:
        """Forget what has run out, and stay connected with the IPFS peers of the settings."""
        async with trio.open_nursery() as nursery:
            for peer, address in self._ipfs_peers:
                nursery.start_soon(self._hold, peer, address)
            while True:
                await trio.sleep(SWEEP_S)
                self.records.sweep(trio.current_time())

    # -- whom to ask

    def near(self, target: int) -> list[Contact]:
        """Peers of our network, nearest to a point; whoever is greeted is in the table."""
        connected = [Contact(peer.peer, peer.addresses) for peer in self._book.all()]
        for contact in connected:
            self._table.add(contact)
        return self._table.nearest(target, K, connected)

    @asynccontextmanager
    async def _meet(self, contact: Contact) -> AsyncIterator[None]:
        """Be connected to a peer of our network and greeted, as long as it is being asked."""
        async with self._guests.asking(contact.peer):
            if contact.peer not in self._book or not self._links.connected(contact.peer):
                if not contact.addresses:
                    raise PeerUnreachable(f"nobody said where {contact.peer} is")
                try:
                    await self._ensure(contact.peer, contact.addresses)
                except NetworkError:
                    self._table.failed(contact.peer)
                    raise
                self._table.add(contact)
            yield

    def _near_ipfs(self, target: int) -> list[Contact]:
        names = [PeerId(str(name)) for name in self._host.get_network().connections]
        return [Contact(peer, ()) for peer in names if peer not in self._book][:K]

    @asynccontextmanager
    async def _meet_ipfs(self, contact: Contact) -> AsyncIterator[None]:
        async with self._guests.asking(contact.peer):
            if not self._links.connected(contact.peer):
                await self._links.dial(contact.peer, contact.addresses)
            yield

    def _ipfs_name(self, peer: PeerId) -> Sequence[str]:
        return [IPFS_PUBLIC if is_public(remote_ip(self._host, peer)) else IPFS_PRIVATE]

    async def _hold(self, peer: PeerId, address: str) -> None:
        while True:
            if not self._links.connected(peer):
                try:
                    await self._links.dial(peer, (address,))
                except NetworkError as err:
                    log.info("an IPFS peer was not reached", address=address, error=str(err))
            await trio.sleep(IPFS_RETRY_S)

    # -- inside

    def contact_of(self, peer: PeerId) -> Contact:
        """A peer and where it is, as far as we know."""
        greeted = self._book.get(peer)
        return Contact(peer, (greeted.addresses if greeted else ()) or self.known(peer))

    def _contact(self) -> Contact:
        return Contact(self._me, tuple(self._own_addresses()[:MAX_ADDRESSES]))

    def own(self, key: bytes) -> Contact | None:
        """Ourselves, when we say that we have the content of a key."""
        return self._contact() if key in self._own else None

    def remember(self, contact: Contact) -> None:
        """Note where a peer is said to be."""
        if contact.addresses:
            self._known[contact.peer] = contact.addresses
            self._known.move_to_end(contact.peer)
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)
