"""The catalogue: every offer, demand, model card and rating this node has heard and found valid.

    examine   bytes from a peer -> Listed, or a ProtocolError (pure; cheap checks first, signature last)
    admit     examine, then keep: in the journal whole, in memory what listings and filters need

A withdrawal removes an item of the same signer, a newer item of the same signer on the same subject (an offer, a model)
its elder; of two made in the same second the greater id counts, so that all nodes end with the same. Expired items
leave by `sweep`. Who may fill how much, and who makes room: `node/market/quota.py`.

In memory an offer takes about 2.7 kB: its facts, encoded (`Listed.body` of `get` and `every` has no sketch, its item no
envelope), its mean in the atlas, its id in the tree. Sketches and envelopes are read from the journal when they count.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from functools import partial

import msgspec
import numpy as np
import structlog
import trio

from node.journal.catalog import Arrival, CatalogStore, Kept
from node.market.atlas import Atlas, mean_of
from node.market.errors import CatalogFull
from node.market.kinds import KINDS, Body, Context
from node.market.listed import B, Held, Listed, hold, subject_of, trusted
from node.market.memory import Refusals
from node.market.quota import Limits, Quota
from node.market.sketch import Vectors, closeness
from node.market.tree import Tree
from node.market.wanted import Wanted
from protocols.envelope import open_item
from protocols.errors import ProtocolError, RuleBroken
from protocols.ids import Address, ItemId, PeerId
from protocols.offers.offer import KIND as OFFER
from protocols.offers.offer import Offer
from protocols.offers.withdrawal import Withdrawal

__all__ = ["Catalog", "Listed", "Space", "Wanted"]

log = structlog.get_logger(__name__)

LOOKED_AT = 8  # candidates by their mean for each offer that is shown
READ_AT_ONCE = 500
AT_ONE_GO = 50  # entries between two checkpoints: 2 ms
OBSOLETE_KEPT = 20_000  # ids of what was replaced or expired: neighbours who still list them need not send them again
EXAMINED = 512  # the gossip validator and the reader see the same bytes within milliseconds
QUERIES = 2  # at once, each in a thread
EVERYTHING = Wanted()


class Space(msgspec.Struct, frozen=True):
    """The embedding space in which this node asks; offers of others are kept, and ranked by nobody."""

    model_id: str
    dim: int


class Catalog:
    """In-memory index over the journalled envelopes; one per node."""

    def __init__(
        self,
        store: CatalogStore,
        context: Context,
        clock: Callable[[], int],
        *,
        space: Space | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._store = store
        self._context = context
        self._clock = clock
        self._space = space or Space("", 1)
        self._held: dict[str, dict[ItemId, Held]] = {kind: {} for kind in KINDS}
        self.changes = 0  # grows with every item that comes or goes: who keeps something derived sees that it is old
        self.quota = Quota(limits or Limits())
        self._own: set[str] = set()
        self._withdrawn: dict[str, set[str]] = {}
        self._atlas = Atlas(self._space.dim)
        self._trees: dict[str, Tree] = {}
        self._newest: dict[Hashable, ItemId] = {}
        self._obsolete: OrderedDict[str, int] = OrderedDict()  # and since when (UTC seconds)
        self._refusals = Refusals(clock)
        self._examined: OrderedDict[bytes, Listed[Body]] = OrderedDict()
        self._queries = trio.CapacityLimiter(QUERIES)

    async def load(self) -> None:
        """Read what earlier runs heard; what is no longer valid (expired, of another chain) is left out.

        Signatures are not checked again: only what was examined gets into the journal, which is this user's own file.
        """
        await self.sweep()
        while bare := await self._store.bare(READ_AT_ONCE):
            await self._store.accompany([self._companion(trusted(ItemId(id), raw)) for id, raw in bare])
        after, gone = 0, list[ItemId]()
        while page := await self._store.page(after, READ_AT_ONCE):
            after, unplaced = page[-1][0], list[ItemId]()
            for place, (_, kept, raw) in enumerate(page):
                gone += self._load(kept, raw, unplaced)
                if place % AT_ONE_GO == 0:
                    await trio.lowlevel.checkpoint()
            if unplaced:
                await self._place_anew(unplaced)
        await self._store.remove(*gone)

    def examine(self, raw: bytes, author: PeerId | None) -> Listed[Body]:
        """Check an envelope and its body. Raises ProtocolError."""
        known = self._examined.get(raw)
        if known is not None and (author is None or author == known.item.peer):
            return known
        item = open_item(raw, chain_id=self._context.chain_id, author=author)
        try:
            kind = KINDS.get(item.kind)
            if kind is None:
                raise RuleBroken(f"items of kind {item.kind[:16]!r} are not known here")
            listed = Listed(item=item, body=kind.read(item, self._context, self._clock()))
        except ProtocolError:
            self.put_off(item.id)
            raise
        self._examined[raw] = listed
        if len(self._examined) > EXAMINED:
            self._examined.popitem(last=False)
        return listed

    async def admit(self, raw: bytes, author: PeerId | None) -> Listed[Body] | None:
        """Keep a valid item. None when it was known. Raises ProtocolError or CatalogFull; then nothing is stored."""
        listed = self.examine(raw, author)
        if self.knows(listed.item.id) or not self._counts(listed.item.id, hold(listed), listed.body):
            return None
        self._find_room(listed.item.signer, len(raw))
        kept = await self.keep([listed])
        return kept[0] if kept else None

    async def keep(self, examined: Sequence[Listed[Body]]) -> list[Listed[Body]]:
        """Keep examined items, in one write; those that were new. What finds no room is left out."""
        fitting: list[tuple[Listed[Body], Kept, Held]] = []
        gone: list[ItemId] = []
        for one in examined:
            held = hold(one)
            if self.knows(one.item.id):
                continue
            if not self._counts(one.item.id, held, one.body):
                self._forget(one.item.id, 0)
            elif self._has_room(one, gone):
                fitting.append((one, self._companion(one, held), held))
            else:
                self.put_off(one.item.id)
        if not fitting:
            return []
        arrivals = [
            Arrival(one.item.raw, kept, (*self._replaced(one.item.id, held, one.body), *gone))
            for one, kept, held in fitting
        ]
        new = await self._store.add(arrivals, self._clock())
        lost: list[ItemId] = []
        done: list[Listed[Body]] = []
        for one, kept, held in fitting:
            if one.item.id not in new or self._find(one.item.id) is not None:
                continue
            if self._counts(one.item.id, held, one.body):  # another may have come meanwhile
                lost += self._enter(one.item.id, held, one.body, _mean(kept, self._space))
                done.append(one)
            else:
                lost.append(one.item.id)
                self._forget(one.item.id, 0)
        left = [id for id in lost if not any(id in arrival.replaces for arrival in arrivals)]
        if left:
            await self._store.remove(*left)
        return done

    def never_evict(self, peer: PeerId) -> None:
        """What this peer, we, has told makes room for nobody."""
        self._own.add(peer)

    @property
    def now(self) -> int:
        """The clock by which items live and rest (UTC seconds)."""
        return self._clock()

    def knows(self, id: str) -> bool:
        """Whether an item is here, or was and was replaced or expired."""
        since = self._obsolete.get(id)
        return (since is not None and since <= self._clock()) or self._find(id) is not None

    def misses(self, id: str) -> bool:
        """Whether it is worth fetching: neither known nor refused a short while ago."""
        return not self.knows(id) and self._refusals.over(id)

    def put_off(self, id: str) -> None:
        """An item that is authentic but may not be kept now: it is not fetched again for a while, then it is."""
        if not self.knows(id):
            self._refusals.add(id)

    def missed_at(self, id: str) -> float:
        """When what was put off is worth a look again (UTC seconds)."""
        return self._refusals.until(id)

    def tree(self, domain: str) -> Tree:
        """The ids of a domain, to compare with a neighbour's."""
        return self._trees.get(domain) or Tree()

    def get(self, id: str, kind: type[B]) -> Listed[B] | None:
        """The item `id` when it is here, open and a `kind`. An offer comes without its sketch and its envelope."""
        for name, how in KINDS.items():
            if issubclass(how.type, kind) and (held := self._held[name].get(ItemId(id))) is not None:
                return None if held.expires_at <= self._clock() else _as(held.listed(ItemId(id)), kind)
        return None

    def every(self, kind: type[B], *, domain: str | None = None, signer: str | None = None) -> Iterator[Listed[B]]:
        """All open items of a kind, in order of arrival; offers as from `get`. 4 µs each."""
        for name in (name for name, how in KINDS.items() if issubclass(how.type, kind)):
            for id, held in list(self._held[name].items()):
                meant = domain in (None, held.domain) and signer in (None, held.signer)
                if meant and held.expires_at > self._clock():
                    yield _as(held.listed(id), kind)

    def count(self, wanted: Wanted = EVERYTHING) -> int:
        """How many open offers are wanted."""
        return self._atlas.count(wanted, self._clock())

    async def whole(self, ids: Sequence[str], kind: type[B]) -> list[Listed[B]]:
        """Those of the items that are here and open, complete, in this order."""
        open_ = [id for id in ids if self.get(id, kind) is not None]
        return [_as(one, kind) for one in await self._store.each(open_, lambda id, raw: trusted(ItemId(id), raw))]

    async def offers(self, wanted: Wanted = EVERYTHING) -> AsyncIterator[Listed[Offer]]:
        """The open offers that are wanted, complete, a few hundred at a time."""
        ids = await self._in_thread(self._atlas.newest, len(self._atlas), wanted, self._clock())
        for start in range(0, len(ids), READ_AT_ONCE):
            for one in await self.whole(ids[start : start + READ_AT_ONCE], Offer):
                yield one

    async def newest(self, count: int, wanted: Wanted, after: str | None = None) -> list[Listed[Offer]]:
        """The newest open offers that are wanted, ties by id; those behind `after`, if that is here."""
        last = self._held[OFFER].get(ItemId(after)) if after is not None else None
        seen = (last.made_at, after) if last is not None and after is not None else None
        ids = await self._in_thread(self._atlas.newest, count, wanted, self._clock(), seen)
        return [one for id in ids if (one := self._meant(id, wanted)) is not None]

    async def nearest(
        self, vector: Vectors, model_id: str, count: int, wanted: Wanted = EVERYTHING
    ) -> list[tuple[Listed[Offer], float]]:
        """The open offers of an embedding model nearest to a query, best first, with their cosines.

        Exact among `LOOKED_AT` times as many candidates, chosen by their means (tests/bench/catalog.py: what that
        misses). Of another space than ours the newest are the candidates.
        """
        meant = msgspec.structs.replace(wanted, model_id=model_id)
        most, now = count * LOOKED_AT, self._clock()
        if Space(model_id, len(vector)) == self._space:
            ids = await self._in_thread(self._atlas.nearest, vector, most, meant, now)
        else:
            ids = await self._in_thread(self._atlas.newest, most, meant, now)
        scored = await self._store.each(ids, partial(_score, vector))
        best = sorted(scored, key=lambda pair: -pair[1])
        found = ((one, score) for id, score in best if (one := self._meant(id, meant)) is not None)
        return [pair for pair, _ in zip(found, range(count), strict=False)]

    async def sweep(self) -> int:
        """Drop what expired, on disk and in memory; returns how many rows."""
        now = self._clock()
        for kind, held in self._held.items():
            for place, (id, one) in enumerate(list(held.items())):
                if one.expires_at <= now and id in held:
                    self._remove(kind, id)
                    self._forget(id, one.expires_at)
                if place % 10_000 == 9_999:
                    await trio.lowlevel.checkpoint()
        return await self._store.expire(now)

    # --- coming and going ---

    def _load(self, kept: Kept, raw: bytes, unplaced: list[ItemId]) -> list[ItemId]:
        """Enter what the journal has; the ids that should not be in it."""
        id = ItemId(kept.id)
        held = Held(
            kind=kept.kind, domain=kept.domain, signer=Address(kept.signer), peer=PeerId(kept.peer),
            expires_at=kept.expires_at, made_at=kept.made_at, size_bytes=kept.size,
            kept=raw if kept.kept is None else kept.kept,
        )  # fmt: skip
        held.intern()
        body = held.body()
        if kept.kind not in KINDS or (body.network, body.chain_id) != (self._context.network, self._context.chain_id):
            return []
        if not self._counts(id, held, body):
            return [id]
        mean = _mean(kept, self._space)
        if isinstance(body, Offer) and body.model_id == self._space.model_id and mean is None:
            unplaced.append(id)
        return self._enter(id, held, body, mean)

    async def _place_anew(self, ids: Sequence[ItemId]) -> None:
        """Place offers in a space that is new: the embedding model of this node is another than before."""
        for listed in await self.whole(ids, Offer):
            body: Body = listed.body
            kept = self._companion(Listed(item=listed.item, body=body))
            held = self._held[OFFER][listed.item.id]
            self._atlas.remove(held.row)
            held.row = self._atlas.add(listed.item.id, held.signer, listed.body, _mean(kept, self._space))
            if kept.mean is not None:
                await self._store.accompany([kept])

    def _companion(self, listed: Listed[Body], held: Held | None = None) -> Kept:
        held = held or hold(listed)
        mean = None
        if isinstance(listed.body, Offer) and listed.body.model_id == self._space.model_id:
            mean = (
                mean_of(listed.body.sketch).tobytes() if len(listed.body.sketch[0].vector) == self._space.dim else None
            )
        return Kept(
            id=listed.item.id, kind=held.kind, domain=held.domain, signer=held.signer, peer=held.peer,
            made_at=held.made_at, expires_at=held.expires_at, size=held.size_bytes,
            kept=held.kept if held.kind == OFFER else None, mean=mean,
        )  # fmt: skip

    def _enter(self, id: ItemId, held: Held, body: Body, mean: Vectors | None) -> list[ItemId]:
        """Take an item in that counts; what it makes obsolete."""
        if isinstance(body, Withdrawal):
            self._withdrawn.setdefault(body.target, set()).add(held.signer)
        gone = self._replaced(id, held, body)
        for old in gone:
            self._remove(next(kind for kind in KINDS if old in self._held[kind]), old)
            self._forget(old, 0)
        subject = subject_of(held.signer, held.kind, body)
        if subject is not None:
            self._newest[subject] = id
        if isinstance(body, Offer):
            held.row = self._atlas.add(id, held.signer, body, mean)
        self._held[held.kind][id] = held
        self._trees.setdefault(held.domain, Tree()).add(id)
        self.quota.take(held.signer, held.size_bytes)
        self._obsolete.pop(id, None)
        self.changes += 1
        return gone

    def _remove(self, kind: str, id: ItemId) -> None:
        held = self._held[kind].pop(id)
        body = held.body()
        if isinstance(body, Offer):
            self._atlas.remove(held.row)
        if isinstance(body, Withdrawal) and (signers := self._withdrawn.get(body.target)) is not None:
            signers.discard(held.signer)
            if not signers:
                del self._withdrawn[body.target]
        tree = self._trees[held.domain]
        tree.remove(id)
        if not len(tree):
            del self._trees[held.domain]
        self.quota.release(held.signer, held.size_bytes)
        subject = subject_of(held.signer, kind, body)
        if subject is not None and self._newest.get(subject) == id:
            del self._newest[subject]
        self.changes += 1

    def _forget(self, id: str, since: int) -> None:
        self._obsolete[id] = since
        if len(self._obsolete) > OBSOLETE_KEPT:
            self._obsolete.popitem(last=False)

    def _find(self, id: str) -> Held | None:
        return next((held[ItemId(id)] for held in self._held.values() if id in held), None)

    def _counts(self, id: ItemId, held: Held, body: Body) -> bool:
        """Neither withdrawn nor behind a newer item of the same signer on the same subject."""
        if held.signer in self._withdrawn.get(id, ()):
            return False
        other = self._standing(id, held, body)
        standing = self._held[held.kind].get(other) if other is not None else None
        return other is None or standing is None or (standing.made_at, other) < (held.made_at, id)

    def _standing(self, id: ItemId, held: Held, body: Body) -> ItemId | None:
        """Another item of the same signer on the same subject."""
        subject = subject_of(held.signer, held.kind, body)
        other = self._newest.get(subject) if subject is not None else None
        return other if other != id else None

    def _replaced(self, id: ItemId, held: Held, body: Body) -> list[ItemId]:
        """What an item makes obsolete: the older one on its subject; what it withdraws."""
        other = self._standing(id, held, body)
        gone = [other] if other is not None else []
        if isinstance(body, Withdrawal):
            target = self._find(body.target)
            if target is not None and target.signer == held.signer:
                gone.append(ItemId(body.target))
        return gone

    # --- room ---

    def _has_room(self, listed: Listed[Body], gone: list[ItemId]) -> bool:
        try:
            gone += self._find_room(listed.item.signer, len(listed.item.raw))
        except CatalogFull as err:
            log.debug("item not kept", peer=listed.item.peer, reason=str(err))
            return False
        return True

    def _find_room(self, signer: str, size_bytes: int) -> list[ItemId]:
        """Room for an item, made if need be; what had to go. Raises CatalogFull."""
        if not self.quota.has_room(signer, size_bytes):
            raise CatalogFull(f"no room for another item of {signer}")
        if not self.quota.is_full(size_bytes):
            return []
        measure, length = self.quota.too_greedy(size_bytes)
        if measure[signer] >= max(length, 1):
            raise CatalogFull(f"the catalogue is full, and {signer} holds as much of it as anybody may")
        return self._evict({one for one, amount in measure.items() if amount > length}, measure, length)

    def _evict(self, greedy: set[str], measure: dict[str, int], length: int) -> list[ItemId]:
        theirs = [
            (held.expires_at, id, held)
            for held_of_kind in self._held.values()
            for id, held in held_of_kind.items()
            if held.signer in greedy and held.peer not in self._own
        ]
        gone = []
        for _, id, held in sorted(theirs, key=lambda entry: entry[:2]):
            if measure[held.signer] > length:
                self._remove(held.kind, id)
                self._refusals.add(id)
                gone.append(id)
        log.info("the catalogue was full", evicted=len(gone), authors=len(greedy))
        return gone

    # --- queries ---

    def _meant(self, id: str, wanted: Wanted) -> Listed[Offer] | None:
        """An offer that a thread has found, if it still is what is wanted."""
        one = self.get(id, Offer)
        return one if one is not None and wanted.admits(one.item.signer, one.body) else None

    async def _in_thread(self, find: Callable[..., list[str]], *args: object) -> list[str]:
        return await trio.to_thread.run_sync(find, *args, limiter=self._queries)


def _as(listed: Listed[Body], kind: type[B]) -> Listed[B]:
    assert isinstance(listed.body, kind)
    return Listed(item=listed.item, body=listed.body)


def _mean(kept: Kept, space: Space) -> Vectors | None:
    if kept.mean is None or len(kept.mean) != 4 * space.dim:
        return None
    return np.frombuffer(kept.mean, np.float32)


def _score(vector: Vectors, id: str, raw: bytes) -> tuple[str, float]:
    body = trusted(ItemId(id), raw).body
    return id, closeness(vector, body.sketch) if isinstance(body, Offer) else -1.0
