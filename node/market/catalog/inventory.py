"""What the catalogue holds in memory: which items, which of them count, who takes how much.

No disk and no waiting: `node/market/catalog/catalog.py` keeps the journal in step with it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping

import structlog

from node.market.catalog.atlas import Atlas
from node.market.catalog.listed import Held, subject_of
from node.market.catalog.quota import Limits, Quota
from node.market.catalog.tree import Tree
from node.market.errors import CatalogFull
from node.market.kinds import KINDS, Body
from node.market.search.sketch import Vectors
from protocols.ids import ItemId
from protocols.offers.offer import Offer
from protocols.offers.withdrawal import Withdrawal

log = structlog.get_logger(__name__)

OBSOLETE_KEPT = 20_000  # ids of what was replaced or expired: neighbours who still list them need not send them again


class Inventory:
    """Items by kind and id, with everything that is found by them."""

    def __init__(self, dim: int, limits: Limits, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.held: dict[str, dict[ItemId, Held]] = {kind: {} for kind in KINDS}
        self.atlas = Atlas(dim)
        self.quota = Quota(limits)
        self.changes = 0
        self.own: set[str] = set()  # peers whose items make room for nobody
        self._trees: dict[str, Tree] = {}
        self._newest: dict[Hashable, ItemId] = {}
        self._withdrawn: dict[str, set[str]] = {}
        self._obsolete: OrderedDict[str, int] = OrderedDict()  # and since when (UTC seconds)

    def find(self, id: str) -> Held | None:
        """An item that is here, open or not."""
        return next((held[ItemId(id)] for held in self.held.values() if id in held), None)

    def knows(self, id: str) -> bool:
        """Whether an item is here, or was and was replaced or expired."""
        since = self._obsolete.get(id)
        return (since is not None and since <= self._clock()) or self.find(id) is not None

    def tree(self, domain: str) -> Tree:
        """The ids of a domain."""
        return self._trees.get(domain) or Tree()

    def counts(self, id: ItemId, held: Held, body: Body) -> bool:
        """Neither withdrawn nor behind a newer item of the same signer on the same subject."""
        if held.signer in self._withdrawn.get(id, ()):
            return False
        other = self._standing(id, held, body)
        standing = self.held[held.kind].get(other) if other is not None else None
        return other is None or standing is None or (standing.made_at, other) < (held.made_at, id)

    def replaced(self, id: ItemId, held: Held, body: Body) -> list[ItemId]:
        """What an item makes obsolete: the older one on its subject; what it withdraws."""
        other = self._standing(id, held, body)
        gone = [other] if other is not None else []
        if isinstance(body, Withdrawal):
            target = self.find(body.target)
            if target is not None and target.signer == held.signer:
                gone.append(ItemId(body.target))
        return gone

    def enter(self, id: ItemId, held: Held, body: Body, mean: Vectors | None) -> list[ItemId]:
        """Take an item in that counts and whose room is taken; what it makes obsolete."""
        if isinstance(body, Withdrawal):
            self._withdrawn.setdefault(body.target, set()).add(held.signer)
        gone = self.replaced(id, held, body)
        for old in gone:
            self.remove(old)
            self.forget(old, 0)
        subject = subject_of(held.signer, held.kind, body)
        if subject is not None:
            self._newest[subject] = id
        if isinstance(body, Offer):
            held.row = self.atlas.add(id, held.signer, body, mean)
        self.held[held.kind][id] = held
        self._trees.setdefault(held.domain, Tree()).add(id)
        self._obsolete.pop(id, None)
        self.changes += 1
        return gone

    def remove(self, id: ItemId) -> None:
        """Take an item out everywhere; one that is not here is none."""
        held = self.find(id)
        if held is None:
            return
        del self.held[held.kind][id]
        body = held.body()
        if isinstance(body, Offer):
            self.atlas.remove(held.row)
        if isinstance(body, Withdrawal) and (signers := self._withdrawn.get(body.target)) is not None:
            signers.discard(held.signer)
            if not signers:
                del self._withdrawn[body.target]
        tree = self._trees[held.domain]
        tree.remove(id)
        if not len(tree):
            del self._trees[held.domain]
        self.quota.release(held.signer, held.size_bytes)
        subject = subject_of(held.signer, held.kind, body)
        if subject is not None and self._newest.get(subject) == id:
            del self._newest[subject]
        self.changes += 1

    def forget(self, id: str, since: int) -> None:
        """Remember that an item is obsolete, since a time (UTC seconds), and nothing else of it."""
        self._obsolete[id] = since
        if len(self._obsolete) > OBSOLETE_KEPT:
            self._obsolete.popitem(last=False)

    def expired(self, now: int) -> Iterator[tuple[ItemId, int]]:
        """What is over, and since when; or ("", 0) now and then for whoever shares the loop."""
        for held_of_kind in self.held.values():
            for place, (id, held) in enumerate(list(held_of_kind.items())):
                if held.expires_at <= now:
                    yield id, held.expires_at
                elif place % 5_000 == 0:
                    yield ItemId(""), 0

    def find_room(self, signer: str, size_bytes: int) -> list[ItemId]:
        """Room for an item, made if need be; what had to go. Raises CatalogFull."""
        if not self.quota.has_room(signer, size_bytes):
            raise CatalogFull(f"no room for another item of {signer}")
        if not self.quota.is_full(size_bytes):
            return []
        measure, length = self.quota.too_greedy(size_bytes)
        if measure[signer] >= max(length, 1):
            raise CatalogFull(f"the catalogue is full, and {signer} holds as much of it as anybody may")
        gone = self._evict(measure, length)
        if self.quota.is_full(size_bytes):
            raise CatalogFull("the catalogue is full of our own items")
        return gone

    def _evict(self, measure: Mapping[str, int], length: int) -> list[ItemId]:
        greedy = {signer for signer, amount in measure.items() if amount > length}
        theirs = [
            (held.expires_at, id, held.signer)
            for held_of_kind in self.held.values()
            for id, held in held_of_kind.items()
            if held.signer in greedy and held.peer not in self.own
        ]
        gone = []
        for _, id, signer in sorted(theirs):
            if measure.get(signer, 0) > length:
                self.remove(id)
                gone.append(id)
        log.info("the catalogue was full", evicted=len(gone), authors=len(greedy))
        return gone

    def _standing(self, id: ItemId, held: Held, body: Body) -> ItemId | None:
        """Another item of the same signer on the same subject."""
        subject = subject_of(held.signer, held.kind, body)
        other = self._newest.get(subject) if subject is not None else None
        return other if other != id else None
