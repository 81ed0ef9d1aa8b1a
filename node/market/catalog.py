"""The catalogue: every offer, demand, model card and rating this node has heard and found valid.

    examine   bytes from a peer -> Listed, or a ProtocolError (pure; cheap checks first, signature last)
    admit     examine, then keep: in memory for queries, in the journal for restarts and for peers that were away

A withdrawal removes an item of the same signer; expired items leave by `sweep`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import msgspec
import structlog

from node.journal.catalog import CatalogStore
from node.market.errors import CatalogFull
from node.market.kinds import KINDS, Body, Context
from protocols.envelope import Item, open_item
from protocols.errors import ProtocolError, RuleBroken
from protocols.ids import ItemId, PeerId
from protocols.offers.withdrawal import Withdrawal

log = structlog.get_logger(__name__)

MAX_ITEMS = 200_000  # about 1 GB of envelopes at their largest, 200 MB as offers usually are
MAX_ITEMS_A_SIGNER = 5_000  # one wallet cannot fill the catalogue of everybody
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
        self._by_signer: Counter[str] = Counter()
        self._examined: OrderedDict[bytes, Listed[Body]] = OrderedDict()

    async def load(self) -> None:
        """Read what earlier runs heard; what is no longer valid (expired) is left out."""
        await self.sweep()
        for entry in await self._store.all():
            try:
                self._enter(self.examine(entry.raw, None))
            except ProtocolError as err:
                log.debug("catalogue entry left out", id=entry.id, reason=str(err))

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
        item = listed.item
        if item.id in self._listed or self._is_withdrawn(item):
            return None
        if len(self._listed) >= MAX_ITEMS or self._by_signer[item.signer] >= MAX_ITEMS_A_SIGNER:
            raise CatalogFull(f"no room for another item of {item.signer}")
        expires = KINDS[item.kind].expires_at(listed.body)
        if await self._store.add(item.id, item.kind, raw, expires, self._clock()) is None:
            return None
        self._enter(listed)
        return listed

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

    async def page(self, after: int, limit: int, max_bytes: int) -> tuple[list[bytes], int]:
        """Envelopes that follow sequence number `after`, at most `limit` and about `max_bytes`; and where to go on."""
        envelopes: list[bytes] = []
        size, next_seq = 0, after
        for entry in await self._store.page(after, limit):
            size += len(entry.raw)
            if envelopes and size > max_bytes:
                break
            envelopes.append(entry.raw)
            next_seq = entry.seq
        return envelopes, next_seq

    async def sweep(self) -> int:
        """Drop what expired, on disk and in memory; returns how many rows."""
        for id, listed in list(self._listed.items()):
            if self._expired(listed):
                self._remove(id)
        return await self._store.expire(self._clock())

    def _enter(self, listed: Listed[Body]) -> None:
        item = listed.item
        if isinstance(listed.body, Withdrawal):
            target = ItemId(listed.body.target)
            self._withdrawn.setdefault(target, set()).add(item.signer)
            standing = self._listed.get(target)
            if standing is not None and standing.item.signer == item.signer:
                self._remove(target)
        elif self._is_withdrawn(item):
            return
        self._listed[item.id] = listed
        self.changes += 1
        self._by_signer[item.signer] += 1

    def _remove(self, id: ItemId) -> None:
        listed = self._listed.pop(id)
        self.changes += 1
        self._by_signer[listed.item.signer] -= 1

    def _is_withdrawn(self, item: Item) -> bool:
        return item.signer in self._withdrawn.get(item.id, ())

    def _expired(self, listed: Listed[Body]) -> bool:
        return KINDS[listed.item.kind].expires_at(listed.body) <= self._clock()
