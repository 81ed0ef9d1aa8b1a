"""Asking around in one Kademlia network: walks towards a key, telling the nearest what we have, gathering providers.

A peer is reached, asked and answered within `ASK_S`, a few at a time. Addresses that somebody names are hearsay: a peer
on the open internet cannot make us dial a private address. Connections made for a walk are ended when they become many.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import structlog
import trio
from libp2p.custom_types import TProtocol

from node.network.addresses import MAX_ADDRESSES, to_id
from node.network.dht.table import FROM_ONE, K, Lookup, point
from node.network.dht.wire import (
    ADD_PROVIDER,
    FIND_NODE,
    GET_PROVIDERS,
    MAX_REPLY_BYTES,
    Answer,
    Contact,
    ask,
    question,
    read_answer,
    say,
)
from node.network.errors import NetworkError
from node.network.streams import BROKEN, Dialogue
from protocols.errors import ProtocolError
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

ASK_S = 6.0  # to dial, greet and ask one peer; an honest one on another continent takes 2
AT_ONCE = 6  # peers that are asked at the same time
WITNESSES = 3  # peers that name providers before a search may end early: one liar alone fills no list
FAILED = (NetworkError, ProtocolError, trio.TooSlowError, *BROKEN)

Meet = Callable[[Contact], AbstractAsyncContextManager[None]]  # connected inside the block


class Gathered:
    """Providers as several peers name them: whom more of them name stands first, and nobody fills the list alone."""

    def __init__(self) -> None:
        self._said: dict[PeerId, dict[PeerId, int]] = {}  # provider → who named it, at which place of his list
        self._addresses: dict[PeerId, dict[str, int]] = {}
        self._witnesses = 0

    def hear(self, by: PeerId, providers: Sequence[Contact]) -> None:
        """What one peer says."""
        self._witnesses += bool(providers)
        for rank, contact in enumerate(providers):
            self._said.setdefault(contact.peer, {})[by] = rank
            votes = self._addresses.setdefault(contact.peer, {})
            for address in contact.addresses[:FROM_ONE]:
                votes[address] = votes.get(address, 0) + 1

    def enough(self, limit: int) -> bool:
        return len(self._said) >= limit and self._witnesses >= WITNESSES

    def best(self, limit: int) -> list[Contact]:
        """The likeliest providers, with the addresses that most name first."""
        ranked = sorted(self._said, key=lambda peer: (-len(self._said[peer]), min(self._said[peer].values())))
        return [Contact(peer, self._best_addresses(peer)) for peer in ranked[:limit]]

    def _best_addresses(self, peer: PeerId) -> tuple[str, ...]:
        votes = self._addresses[peer]
        return tuple(sorted(votes, key=lambda address: -votes[address])[:MAX_ADDRESSES])


class Face:
    """One network of keepers; `names` gives the protocols to try with a peer, `echoes` whether it confirms a record."""

    def __init__(
        self,
        host: Any,
        me: PeerId,
        *,
        names: Callable[[PeerId], Sequence[str]],
        near: Callable[[int], list[Contact]],
        meet: Meet,
        echoes: bool,
    ) -> None:
        self._host = host
        self._me = me
        self._names = names
        self._near = near
        self._meet = meet
        self._echoes = echoes

    async def tell(self, key: bytes, own: Contact) -> int:
        """Say to the nearest peers that we have it; how many have taken it."""
        lookup = await self._walk(FIND_NODE, key, lambda _peer, _answer: False)
        told: list[bool] = []
        slots = trio.CapacityLimiter(AT_ONCE)

        async def tell(contact: Contact) -> None:
            async with slots:
                told.append(await self._tell(contact, question(ADD_PROVIDER, key, [own])))

        async with trio.open_nursery() as nursery:
            for contact in lookup.nearest(K):
                nursery.start_soon(tell, contact)
        return sum(told)

    async def gather(self, key: bytes, gathered: Gathered, limit: int) -> None:
        """Ask towards the key who has it."""

        def hear(peer: PeerId, answer: Answer) -> bool:
            gathered.hear(peer, [contact for contact in answer.providers if contact.peer != self._me])
            return gathered.enough(limit)

        await self._walk(GET_PROVIDERS, key, hear)

    async def _walk(self, kind: Any, key: bytes, hear: Callable[[PeerId, Answer], bool]) -> Lookup:
        target = point(key)
        lookup = Lookup(target, self._near(target), self._me)
        request, changed = question(kind, key), trio.Event()

        async def work() -> None:
            nonlocal changed
            while not lookup.done:
                contact = lookup.next()
                if contact is None:
                    await changed.wait()
                    continue
                answer = await self._ask(contact, request)
                if answer is None:
                    lookup.failed(contact.peer)
                else:
                    lookup.answered(contact.peer, answer.closer)
                    if hear(contact.peer, answer):
                        nursery.cancel_scope.cancel()
                changed.set()
                changed = trio.Event()

        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(work)
        return lookup

    async def _ask(self, contact: Contact, request: bytes) -> Answer | None:
        try:
            with trio.fail_after(ASK_S):
                async with self._stream(contact) as stream:
                    answer = read_answer(await ask(stream, request, MAX_REPLY_BYTES))
        except FAILED as err:
            log.debug("no answer in a search", peer=contact.peer, error=str(err))
            return None
        return heard_from(remote_ip(self._host, contact.peer), answer)

    async def _tell(self, contact: Contact, request: bytes) -> bool:
        try:
            with trio.fail_after(ASK_S):
                async with self._stream(contact) as stream:
                    if self._echoes:
                        await ask(stream, request, MAX_REPLY_BYTES)
                    else:  # Kubo says nothing to this
                        await say(stream, request, ASK_S)
        except FAILED as err:
            log.debug("a provider record was not taken", peer=contact.peer, error=str(err))
            return False
        return True

    @asynccontextmanager
    async def _stream(self, contact: Contact) -> AsyncIterator[Any]:
        """A stream to a peer, closed at the end and reset on an exception."""
        async with self._meet(contact):
            names = [TProtocol(name) for name in self._names(contact.peer)]
            stream = await self._host.new_stream(to_id(contact.peer), names)
            try:
                yield stream
            except BaseException:
                await Dialogue(stream).reset()
                raise
            await Dialogue(stream).close()


def remote_ip(host: Any, peer: PeerId) -> str:
    """Where a connected peer is; "" when nobody knows."""
    for conn in host.get_network().get_connections(to_id(peer)):
        if not conn.is_closed and (where := conn.muxed_conn.get_remote_address()):
            return str(where[0])
    return ""


def is_public(ip: str) -> bool:
    """Whether an address is of the open internet."""
    try:
        return ipaddress.ip_address(ip.split("%")[0]).is_global
    except ValueError:
        return False


def heard_from(ip: str, answer: Answer) -> Answer:
    """What may be believed of somebody's answer: one on the open internet knows no private addresses."""
    if not is_public(ip):
        return answer
    return Answer(tuple(map(_public_only, answer.closer)), tuple(map(_public_only, answer.providers)))


def _public_only(contact: Contact) -> Contact:
    kept = [address for address in contact.addresses if _may_be_public(address)]
    return contact._replace(addresses=tuple(kept))


def _may_be_public(address: str) -> bool:
    _, kind, host, *_ = address.split("/")
    return kind not in ("ip4", "ip6") or is_public(host)
