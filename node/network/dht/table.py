"""Kademlia's arithmetic without I/O: who is near a key, and one search towards it.

Peers and keys stand at SHA-256 of their bytes; near is a small XOR (kad-dht specification; Maymounkov and Mazières
2002). A table keeps peers that were spoken with, at most `K` a bucket; those who have been there longest stay.

A search believes nobody: what a peer names counts only once it has answered itself, and a peer that names too many who
do not is no longer listened to.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Literal

from node.network.dht.addresses import bytes_of
from node.network.dht.wire import Contact
from protocols.ids import PeerId

K = 20  # the specification's replication, bucket size and breadth of a search
MAX_ASKED = 60  # peers of one search; an honest network of a million answers within 30
MISLED = 3  # more peers that did not answer than did, and whoever named them is not believed any more
FROM_ONE = 4  # addresses of a peer that are taken from one who names it


def point(key: bytes) -> int:
    """Where a key stands."""
    return int.from_bytes(sha256(key).digest(), "big")


@lru_cache(8_192)
def place(peer: PeerId) -> int:
    """Where a peer stands."""
    return point(bytes_of(peer))


class Table:
    """Peers that have been spoken with, by their distance to us."""

    def __init__(self, me: PeerId) -> None:
        self._me = place(me)
        self._buckets: dict[int, dict[PeerId, Contact]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def get(self, peer: PeerId) -> Contact | None:
        return self._bucket(peer).get(peer)

    def add(self, contact: Contact) -> None:
        """A peer was spoken with; a full bucket has no room for new ones until one of it fails."""
        bucket = self._bucket(contact.peer)
        if place(contact.peer) != self._me and contact.addresses and (contact.peer in bucket or len(bucket) < K):
            bucket[contact.peer] = contact

    def failed(self, peer: PeerId) -> None:
        """It did not answer."""
        self._bucket(peer).pop(peer, None)

    def nearest(self, target: int, count: int, besides: Iterable[Contact] = ()) -> list[Contact]:
        """Those nearest to a point, of the table and of others."""
        all_of_them = {contact.peer: contact for bucket in self._buckets.values() for contact in bucket.values()}
        all_of_them.update((contact.peer, contact) for contact in besides)
        return heapq.nsmallest(count, all_of_them.values(), key=lambda contact: place(contact.peer) ^ target)

    def _bucket(self, peer: PeerId) -> dict[PeerId, Contact]:
        return self._buckets.setdefault((place(peer) ^ self._me).bit_length(), {})


class _Candidate:
    def __init__(self, contact: Contact) -> None:
        self.contact = contact
        self.state: Literal["heard", "asking", "answered", "failed"] = "heard"
        self.named_by: set[PeerId] = set()  # empty: we knew it ourselves


class Lookup:
    """One search: `next` says whom to ask, `answered` and `failed` what came of it."""

    def __init__(self, target: int, seeds: Sequence[Contact], me: PeerId) -> None:
        self._target = target
        self._me = me
        self._found = {contact.peer: _Candidate(contact) for contact in seeds if contact.peer != me}
        self._misled: Counter[PeerId] = Counter()
        self.asked = 0

    @property
    def done(self) -> bool:
        """Whether nobody is left to ask and nobody is being asked."""
        return self._waiting() is None and not any(one.state == "asking" for one in self._found.values())

    def next(self) -> Contact | None:
        """Whom to ask now: the nearest of the `K` nearest that were not asked yet."""
        one = self._waiting()
        if one is None:
            return None
        one.state = "asking"
        self.asked += 1
        return one.contact

    def answered(self, peer: PeerId, closer: Sequence[Contact]) -> None:
        """A peer has answered, and named others."""
        self._found[peer].state = "answered"
        self._misled.subtract(self._found[peer].named_by)
        for contact in closer[:K]:
            if contact.peer != self._me:
                self._hear(peer, contact)

    def failed(self, peer: PeerId) -> None:
        """A peer did not answer: those who named it are believed less."""
        one = self._found[peer]
        one.state = "failed"
        self._misled.update(one.named_by)

    def nearest(self, count: int = K) -> list[Contact]:
        """Those who have answered, nearest first."""
        return [one.contact for one in self._sorted() if one.state == "answered"][:count]

    def _hear(self, by: PeerId, contact: Contact) -> None:
        known = self._found.get(contact.peer)
        addresses = contact.addresses[:FROM_ONE]
        if known is None:
            known = self._found[contact.peer] = _Candidate(contact._replace(addresses=addresses))
            known.named_by.add(by)
        elif known.named_by and by not in known.named_by:
            known.named_by.add(by)
            merged = tuple(dict.fromkeys((*known.contact.addresses, *addresses)))
            known.contact = known.contact._replace(addresses=merged[: 2 * FROM_ONE])

    def _waiting(self) -> _Candidate | None:
        if self.asked >= MAX_ASKED:
            return None
        near = [one for one in self._sorted() if one.state != "failed" and self._believed(one)][:K]
        return next((one for one in near if one.state == "heard"), None)

    def _believed(self, one: _Candidate) -> bool:
        if one.state != "heard" or not one.named_by:
            return True
        return any(self._misled[name] < MISLED for name in one.named_by)

    def _sorted(self) -> list[_Candidate]:
        return sorted(self._found.values(), key=lambda one: place(one.contact.peer) ^ self._target)
