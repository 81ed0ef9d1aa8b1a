"""The catalogue: every offer, demand, model card and rating this node has heard and found valid.

    examine   bytes from a peer -> Listed, or a ProtocolError (pure; cheap checks first, signature last)
    admit     examine, then keep: in memory for queries, in the journal for restarts and for peers that were away

A withdrawal removes an item of the same signer, a newer item of the same signer on the same subject (an offer, a model)
its elder; expired items leave by `sweep`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Generic, TypeVar

import msgspec
import structlog

from node.journal.catalog import Arrival, CatalogStore
from node.market.atlas import Atlas, mean_of
from node.market.errors import CatalogFull
from node.market.kinds import KINDS, Body, Context
from node.market.sketch import Vectors, closeness
from protocols.envelope import Item, open_item
from protocols.errors import ProtocolError, RuleBroken
from protocols.ids import ItemId, PeerId
from protocols.offers.offer import Offer
from protocols.offers.withdrawal import Withdrawal

log = structlog.get_logger(__name__)

MAX_ITEMS = 200_000  # about 1 GB of envelopes at their largest, 200 MB as offers usually are
MAX_ITEMS_A_SIGNER = 5_000  # one wallet cannot fill the catalogue of everybody
LOOKED_AT = 8  # candidates by their mean for each offer that is shown
LOADED_AT_ONCE = 1_000
OBSOLETE_KEPT = 20_000  # ids of replaced items: neighbours who still list them need not send them again
EXAMINED = 1_024  # the gossip validator and the reader see the same bytes within milliseconds

B = TypeVar("B")


class Listed(msgspec.Struct, Generic[B], frozen=True):
    """A valid item and its typed body."""

    item: Item
    body: B


class Catalog:
    """In-memory index over the journalled envelopes; one per node."""

    def __init__(self, store: CatalogStore, context: Context, clock: Callable[[], int]) -> None:
        self._store = store
        self._context = context
        self._clock = clock
        self._listed: dict[ItemId, Listed[Body]] = {}
        self.changes = 0  # grows with every item that comes or goes: who keeps something derived sees that it is old
        self._withdrawn: dict[ItemId, set[str]] = {}
        self._atlases: dict[tuple[str, int], Atlas] = {}
        self._newest: dict[Hashable, ItemId] = {}
        self._obsolete: OrderedDict[ItemId, None] = OrderedDict()
        self._by_signer: Counter[str] = Counter()
        self._examined: OrderedDict[bytes, Listed[Body]] = OrderedDict()

    async def load(self) -> None:
        """Read what earlier runs heard; what is no longer valid (expired) is left out."""
        await self.sweep()
        after = 0
        while entries := await self._store.page(after, LOADED_AT_ONCE):
            after = entries[-1].seq
            displaced: list[tuple[str, str]] = []
            for entry in entries:
                try:
                    listed = self.examine(entry.raw, None)
                except ProtocolError as err:
                    log.debug("catalogue entry left out", id=entry.id, reason=str(err))
                    continue
                self._enter(listed)
                if entry.domain != listed.body.domain:
                    displaced.append((entry.id, listed.body.domain))
            if displaced:
                await self._store.place(displaced)

    def examine(self, raw: bytes, author: PeerId | None) -> Listed[Body]:
        """Check an envelope and its body. Raises ProtocolError."""
        known = self._examined.get(raw)
        if known is not None and (author is None or author == known.item.peer):
            return known
        item = open_item(raw, chain_id=self._context.chain_id, author=author)
        kind = KINDS.get(item.kind)
        if kind is None:
            raise RuleBroken(f"items of kind {item.kind[:16]!r} are not known here")
        listed = Listed(item=item, body=kind.read(item, self._context, self._clock()))
        self._examined[raw] = listed
        if len(self._examined) > EXAMINED:
            self._examined.popitem(last=False)
        return listed

    async def admit(self, raw: bytes, author: PeerId | None) -> Listed[Body] | None:
        """Keep a valid item. None when it was known. Raises ProtocolError or CatalogFull; then nothing is stored."""
        listed = self.examine(raw, author)
        if self.knows(listed.item.id) or not self._counts(listed):
            return None
        self._find_room(listed)
        kept = await self.keep([listed])
        return kept[0] if kept else None

    async def keep(self, examined: Sequence[Listed[Body]]) -> list[Listed[Body]]:
        """Keep examined items, in one write; those that were new. What finds no room is left out."""
        fitting = [one for one in examined if self._counts(one) and self._has_room(one)]
        arrivals = [
            Arrival(
                id=one.item.id,
                kind=one.item.kind,
                domain=one.body.domain,
                raw=one.item.raw,
                expires_at=KINDS[one.item.kind].expires_at(one.body),
                replaces=tuple(self._replaced(one)),
            )
            for one in fitting
        ]
        new = await self._store.add(arrivals, self._clock()) if arrivals else set()
        kept = [one for one in fitting if one.item.id in new and self._counts(one)]
        for one in kept:
            self._enter(one)
        return kept

    def knows(self, id: str) -> bool:
        """Whether an item is here, or was and was replaced: there is no need to fetch it."""
        return id in self._listed or id in self._obsolete

    def get(self, id: str, kind: type[B]) -> Listed[B] | None:
        """The item `id` when it is here, open and a `kind`."""
        listed = self._listed.get(ItemId(id))
        if listed is None or not isinstance(listed.body, kind) or self._expired(listed):
            return None
        return Listed(item=listed.item, body=listed.body)

    def every(self, kind: type[B]) -> Iterator[Listed[B]]:
        """All open items of a kind, in order of arrival."""
        for listed in list(self._listed.values()):
            if isinstance(listed.body, kind) and not self._expired(listed):
                yield Listed(item=listed.item, body=listed.body)

    def nearest(
        self, vector: Vectors, model_id: str, domain: str | None, count: int, fits: Callable[[Listed[Offer]], bool]
    ) -> list[tuple[Listed[Offer], float]]:
        """The open offers of an embedding model nearest to a query, best first, with their cosines.

        `fits` chooses among them; when it lets few pass, more are looked at.
        """
        atlas = self._atlases.get((model_id, len(vector)))
        wanted = count * LOOKED_AT
        while atlas is not None:
            keys = atlas.nearest(vector, wanted, domain)
            found = [one for key in keys if (one := self.get(key, Offer)) is not None and fits(one)]
            if len(found) >= count or len(keys) < wanted:
                scored = [(one, closeness(vector, one.body.sketch)) for one in found]
                return sorted(scored, key=lambda pair: -pair[1])[:count]
            wanted *= 8
        return []

    async def sweep(self) -> int:
        """Drop what expired, on disk and in memory; returns how many rows."""
        for id, listed in list(self._listed.items()):
            if self._expired(listed):
                self._remove(id)
        return await self._store.expire(self._clock())

    def _enter(self, listed: Listed[Body]) -> None:
        if not self._counts(listed):
            return
        item = listed.item
        if isinstance(listed.body, Withdrawal):
            self._withdrawn.setdefault(ItemId(listed.body.target), set()).add(item.signer)
        for gone in self._replaced(listed):
            self._remove(gone)
            self._obsolete[gone] = None
            if len(self._obsolete) > OBSOLETE_KEPT:
                self._obsolete.popitem(last=False)
        subject = _subject(listed)
        if subject is not None:
            self._newest[subject] = item.id
        # the body is there decoded: a second copy of 100,000 would be 700 MB
        self._listed[item.id] = Listed(item=msgspec.structs.replace(item, body=b""), body=listed.body)
        if isinstance(listed.body, Offer):
            self._place(item.id, listed.body)
        self.changes += 1
        self._by_signer[item.signer] += 1

    def _place(self, id: ItemId, offer: Offer) -> None:
        self._atlas_of(offer).add(id, mean_of(offer.sketch), offer.domain)

    def _atlas_of(self, offer: Offer) -> Atlas:
        key = (offer.model_id, len(offer.sketch[0].vector))
        if key not in self._atlases:
            self._atlases[key] = Atlas(key[1])
        return self._atlases[key]

    def _counts(self, listed: Listed[Body]) -> bool:
        """Neither withdrawn nor behind a newer item of the same signer on the same subject."""
        if listed.item.signer in self._withdrawn.get(listed.item.id, ()):
            return False
        standing = self._standing(listed)
        return standing is None or _made_at(standing) <= _made_at(listed)

    def _standing(self, listed: Listed[Body]) -> Listed[Body] | None:
        """Another item of the same signer on the same subject."""
        subject = _subject(listed)
        id = self._newest.get(subject) if subject is not None else None
        return self._listed.get(id) if id is not None and id != listed.item.id else None

    def _replaced(self, listed: Listed[Body]) -> list[ItemId]:
        """What an item makes obsolete: the older one on its subject; what it withdraws."""
        gone = []
        standing = self._standing(listed)
        if standing is not None:
            gone.append(standing.item.id)
        if isinstance(listed.body, Withdrawal):
            target = self._listed.get(ItemId(listed.body.target))
            if target is not None and target.item.signer == listed.item.signer:
                gone.append(target.item.id)
        return gone

    def _remove(self, id: ItemId) -> None:
        listed = self._listed.pop(id)
        if isinstance(listed.body, Offer):
            self._atlas_of(listed.body).remove(id)
        self.changes += 1
        self._by_signer[listed.item.signer] -= 1
        subject = _subject(listed)
        if subject is not None and self._newest.get(subject) == id:
            del self._newest[subject]

    def _has_room(self, listed: Listed[Body]) -> bool:
        try:
            self._find_room(listed)
        except CatalogFull as err:
            log.debug("item not kept", peer=listed.item.peer, reason=str(err))
            return False
        return True

    def _find_room(self, listed: Listed[Body]) -> None:
        signer = listed.item.signer
        if len(self._listed) >= MAX_ITEMS or self._by_signer[signer] >= MAX_ITEMS_A_SIGNER:
            raise CatalogFull(f"no room for another item of {signer}")

    def _expired(self, listed: Listed[Body]) -> bool:
        return KINDS[listed.item.kind].expires_at(listed.body) <= self._clock()


def _made_at(listed: Listed[Body]) -> int:
    return KINDS[listed.item.kind].made_at(listed.body)


def _subject(listed: Listed[Body]) -> Hashable | None:
    subject = KINDS[listed.item.kind].subject
    return None if subject is None else (listed.item.kind, listed.item.signer, subject(listed.body))
