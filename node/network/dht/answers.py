"""Answering Kademlia's questions: three kinds, from greeted peers, a few streams and so many questions a second.

Nothing of what is answered waits for anybody else: a question costs a look into two tables. What is malformed ends its
stream and is blamed; where there is only no room, nobody is.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import structlog
import trio

from node.network.dht.records import Records
from node.network.dht.table import K, point
from node.network.dht.wire import (
    ADD_PROVIDER,
    FIND_NODE,
    GET_PROVIDERS,
    MAX_REQUEST_BYTES,
    Contact,
    Question,
    answer,
    read_question,
    receive,
    say,
)
from node.network.guard.allowance import Allowance
from node.network.guard.conduct import FLOOD, MALFORMED, SILENT, Fault
from node.network.streams import BROKEN, Dialogue
from protocols.errors import Malformed
from protocols.ids import PeerId

log = structlog.get_logger(__name__)

STREAMS, STREAMS_OF_PEER = 64, 4
IDLE_S = 20.0  # of a stream between two questions
WRITE_S = 10.0
QUESTIONS_PER_S, QUESTIONS_AT_ONCE = 50.0, 400.0  # of one peer; who tells his pins one by one asks 20 a second


class Declined(Exception):
    """We do not do what was asked, and nobody is to blame for it."""


class Around(Protocol):
    """What we know, to answer from."""

    def near(self, target: int) -> list[Contact]:
        """Peers nearest to a point."""

    def contact_of(self, peer: PeerId) -> Contact:
        """Where a peer is."""

    def own(self, key: bytes) -> Contact | None:
        """Ourselves, when we have the content of a key."""

    def remember(self, contact: Contact) -> None:
        """A peer says where it is."""


class Answering:
    """The answering side of `Dht`."""

    def __init__(
        self,
        around: Around,
        records: Records,
        greeted: Callable[[PeerId], bool],
        blame: Callable[[PeerId, Fault], None],
    ) -> None:
        self._around = around
        self._records = records
        self._greeted = greeted
        self._blame = blame
        self._streams: Counter[PeerId] = Counter()
        self._pace = Allowance(QUESTIONS_PER_S, QUESTIONS_AT_ONCE)
        self.answered = 0  # questions, of all peers

    def streams_of(self, peer: PeerId) -> int:
        """How many a peer holds open."""
        return self._streams[peer]

    async def serve(self, stream: Any) -> None:
        """Answer one stream until it ends."""
        peer = PeerId(str(stream.muxed_conn.peer_id))
        if not self._greeted(peer) or self._streams[peer] >= STREAMS_OF_PEER or self._streams.total() >= STREAMS:
            await Dialogue(stream).reset()
            return
        self._streams[peer] += 1
        try:
            await self._converse(peer, stream)
            await Dialogue(stream).close()
        except (Declined, Malformed, trio.TooSlowError, *BROKEN) as err:
            log.debug("a Kademlia stream ended", peer=peer, error=str(err))
            if isinstance(err, Malformed):
                self._blame(peer, MALFORMED)
            elif isinstance(err, trio.TooSlowError):
                self._blame(peer, SILENT)
            await Dialogue(stream).reset()
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]

    async def _converse(self, peer: PeerId, stream: Any) -> None:
        ahead = bytearray()
        while True:
            with trio.fail_after(IDLE_S):
                raw = await receive(stream, ahead, MAX_REQUEST_BYTES)
            if raw is None:
                return
            if not self._pace.take(peer.encode(), trio.current_time()):
                self._blame(peer, FLOOD)
                raise Declined("more questions than anybody needs")
            await say(stream, self._answer(peer, read_question(raw)), WRITE_S)

    def _answer(self, peer: PeerId, asked: Question) -> bytes:
        self.answered += 1
        if asked.kind == ADD_PROVIDER:
            return self._keep(peer, asked)
        near = [one for one in self._around.near(point(asked.key)) if one.addresses and one.peer != peer]
        if asked.kind == FIND_NODE:
            return answer(FIND_NODE, asked.key, near)
        held = self._records.providers(asked.key, trio.current_time())
        chosen = [self._around.contact_of(one) for one in random.sample(held, min(len(held), K - 1)) if one != peer]
        if (own := self._around.own(asked.key)) is not None:
            chosen.insert(0, own)
        return answer(GET_PROVIDERS, asked.key, near, chosen)

    def _keep(self, peer: PeerId, asked: Question) -> bytes:
        """Only the provider itself may say that it has something."""
        said = next((one for one in asked.providers if one.peer == peer), None)
        if said is None:
            raise Malformed("a provider record in the name of another")
        if not self._records.add(asked.key, peer, trio.current_time()):
            raise Declined("no room for another provider record")
        if said.addresses:
            self._around.remember(said)
        return answer(ADD_PROVIDER, asked.key)
