"""Meeting peers: dial, say hello, and ask those we know for those we only know by name.

A connection is greeted once. The hello goes from the dialling side and informs both; whoever needs a peer that has not
been greeted yet says hello first.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import structlog
import trio

from node.network.addresses import addresses_of
from node.network.errors import Foreigner, PeerRefused, PeerUnreachable, Refuse
from node.network.guard.guard import Guard
from node.network.links import Links
from node.network.options import NetworkOptions
from node.network.peers import (
    HELLO,
    INTRODUCE,
    MAX_HELLO_BYTES,
    MAX_INTRODUCE_BYTES,
    MAX_INTRODUCTIONS_BYTES,
    MAX_TOPICS,
    Hello,
    Introduce,
    Introduction,
    Peer,
    PeerBook,
    PeerMemory,
    check_hello,
    own_hello,
)
from node.network.streams import deadline
from protocols.codec import decode, encode
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

HELLO_S = 5.0
ASK_S = 3.0
ASKED = 4  # peers that are asked for an address at the same time
PART_S = 1.0  # a refusal goes out before the connection is closed

Found = list[tuple[PeerId, tuple[str, ...]]]


class Meeting:
    """Brings peers into the book."""

    def __init__(
        self,
        links: Links,
        book: PeerBook,
        memory: PeerMemory,
        options: NetworkOptions,
        own_addresses: Callable[[], tuple[str, ...]],
        listens: Callable[[PeerId, str], bool],
        guard: Guard,
    ) -> None:
        self._links = links
        self._book = book
        self._memory = memory
        self._options = options
        self._own_addresses = own_addresses
        self._listens = listens
        self._guard = guard
        self._rng = random.Random()  # noqa: S311 - spreads questions, guards nothing

    def ready(self, peer: PeerId) -> bool:
        """Whether a peer is connected and greeted."""
        return peer in self._book and self._links.connected(peer)

    async def ensure(self, peer: PeerId, hints: tuple[str, ...]) -> None:
        """Be connected to a peer of our network, by the addresses we have or by those that others know.

        Raises PeerUnreachable, DeadlineExceeded, Foreigner.
        """
        if self.ready(peer):
            return
        known = self._book.get(peer)
        addresses = hints or (known.addresses if known else ())
        if not addresses and not self._links.connected(peer):
            await self.reach(peer, await self._find(peer))
            return
        try:
            await self.reach(peer, addresses)
        except PeerUnreachable:
            newer = tuple(address for address in await self._find(peer) if address not in addresses)
            if not newer:
                raise
            await self.reach(peer, newer)

    async def reach(self, peer: PeerId, addresses: tuple[str, ...]) -> None:
        """Dial (unless connected) and greet (unless greeted). Raises also PeerBanned."""
        self._guard.check(peer)
        async with self._links.alone(peer):
            if not self._links.connected(peer):
                self._book.remove(peer)
                await self._links.dial(peer, addresses)
            if peer not in self._book:
                await self._greet(peer)

    async def _greet(self, peer: PeerId) -> None:
        body = encode(own_hello(self._options, self._own_addresses()))
        try:
            with deadline(HELLO_S, f"{peer} did not answer our hello"):
                reply = await self._links.exchange(peer, HELLO, body, MAX_HELLO_BYTES)
            hello = decode(reply, Hello, max_bytes=MAX_HELLO_BYTES)
        except PeerRefused as err:
            await self._links.hang_up(peer)
            raise Foreigner(str(err), err.reason) from err
        await self._welcome(peer, hello, inbound=False)

    async def tell(self, peer: PeerId) -> None:
        """Say hello once more: our addresses have changed. Raises what `exchange` and `decode` raise."""
        body = encode(own_hello(self._options, self._own_addresses()))
        with deadline(HELLO_S, f"{peer} did not answer our hello"):
            reply = await self._links.exchange(peer, HELLO, body, MAX_HELLO_BYTES)
        await self._welcome(peer, decode(reply, Hello, max_bytes=MAX_HELLO_BYTES), inbound=False)

    async def _welcome(self, peer: PeerId, hello: Hello, *, inbound: bool) -> None:
        now = int(time.time())
        addresses = addresses_of(peer, hello.listen)
        known = self._book.get(peer)
        came = (known.inbound, known.since) if known else (inbound, now)
        self._book.add(Peer(peer, addresses, came[0], hello.version[:32], came[1]))
        if addresses:
            await self._memory.met(peer, addresses, now)

    async def on_hello(self, peer: PeerId, body: bytes, nursery: trio.Nursery) -> bytes:
        """Answer a hello; a foreigner is told why, and disconnected a moment later."""
        hello = decode(body, Hello, max_bytes=MAX_HELLO_BYTES)
        try:
            check_hello(hello, self._options)
            self._guard.refuse(peer)
        except Refuse:
            nursery.start_soon(self._part, peer)
            raise
        await self._welcome(peer, hello, inbound=True)
        return encode(own_hello(self._options, self._own_addresses()))

    async def _part(self, peer: PeerId) -> None:
        await trio.sleep(PART_S)
        await self._links.hang_up(peer)

    async def on_introduce(self, peer: PeerId, body: bytes) -> bytes:
        """Answer with the addresses of peers we are connected to."""
        asked = decode(body, Introduce, max_bytes=MAX_INTRODUCE_BYTES)

        def fits(known: PeerId) -> bool:
            if asked.want:
                return known == asked.want
            return not asked.topics or any(self._listens(known, topic) for topic in asked.topics)

        return encode(self._book.introductions(peer, fits))

    async def ask_around(self, topics: Sequence[str]) -> Found:
        """Some peers that our peers are connected to; with topics only those that listen to one of them."""
        return await self._introduced(Introduce(want="", topics=list(topics[:MAX_TOPICS])))

    async def _find(self, peer: PeerId) -> tuple[str, ...]:
        found = await self._introduced(Introduce(want=peer, topics=[]))
        named = [addresses for name, addresses in found if name == peer]
        return tuple(dict.fromkeys(address for addresses in named for address in addresses))

    async def _introduced(self, question: Introduce) -> Found:
        found: Found = []
        request = encode(question)

        async def ask(peer: PeerId) -> None:
            try:
                with deadline(ASK_S, "no introductions"):
                    reply = await self._links.exchange(peer, INTRODUCE, request, MAX_INTRODUCTIONS_BYTES)
                said = decode(reply, list[Introduction], max_bytes=MAX_INTRODUCTIONS_BYTES)
            except Exception as err:  # one peer's nonsense must not spoil what the others say
                log.debug("no introductions", peer=peer, error=str(err))
                return
            found.extend((PeerId(i.peer), addresses_of(PeerId(i.peer), i.addresses)) for i in said)

        known = self._book.all()
        async with trio.open_nursery() as nursery:
            for peer in self._rng.sample(known, min(ASKED, len(known))):
                nursery.start_soon(ask, peer.peer)
        return [(peer, addresses) for peer, addresses in found if addresses]
