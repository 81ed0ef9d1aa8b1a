"""The catalogue: every offer, demand, model card and rating this node has heard and found valid.

    examine   bytes from a peer -> Listed, or a ProtocolError (pure; cheap checks first, signature last)
    admit     examine, then keep: in the journal whole, in memory what listings and filters need

A withdrawal removes an item of the same signer, a newer item of the same signer on the same subject (an offer, a model)
its elder; of two made in the same second the greater id counts, so that all nodes end with the same. Expired items
leave by `sweep`. Who may fill how much, and who makes room: `node/market/catalog/quota.py`.

In memory an offer takes less than 3 kB: its facts, encoded (`Listed.body` of `get` and `every` has no sketch, its item
no envelope), its mean in the atlas, its id in the tree. Sketches and envelopes are read from the journal when they are
wanted. Queries run in threads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import msgspec
import structlog
import trio

from node.journal.catalog import Arrival, CatalogStore, Kept
from node.market.catalog.examining import Examiner
from node.market.catalog.inventory import Inventory
from node.market.catalog.listed import B, Held, Listed, hold, sketch_of, trusted
from node.market.catalog.memory import Refusals
from node.market.catalog.quota import Limits, Quota
from node.market.catalog.shelved import Space, companion, held_of
from node.market.catalog.tree import Tree
from node.market.catalog.wanted import Wanted
from node.market.errors import CatalogFull
from node.market.kinds import KINDS, Body, Context
from node.market.search.sketch import Vectors, closeness_of_many
from protocols.ids import ItemId, PeerId
from protocols.offers.offer import KIND as OFFER
from protocols.offers.offer import Offer

__all__ = ["Catalog", "Listed", "Space", "Wanted"]

log = structlog.get_logger(__name__)

LOOKED_AT, LOOKED_AT_MOST = 16, 500  # candidates by their mean for each offer that is shown; besides those shown
READ_AT_ONCE = 500
AT_ONE_GO = 25  # entries between two checkpoints: 1 ms
QUERIES = 2  # at once, each in a thread
EVERYTHING = Wanted()

T = TypeVar("T")


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
        self._inventory = Inventory(self._space.dim, limits or Limits(), clock)
        self._refusals = Refusals(clock)
        self._examiner = Examiner(context, clock, self.put_off)
        self._queries = trio.CapacityLimiter(QUERIES)

    async def load(self) -> None:
        """Read what earlier runs heard; what is no longer valid (expired, of another chain) is left out.

        Signatures are not checked again: only what was examined gets into the journal, which is this user's own file.
        """
        await self.sweep()
        gone: list[ItemId] = []
        while bare := await self._store.bare(READ_AT_ONCE):
            await self._store.accompany(
                [kept for id, raw in bare if (kept := self._accompanied(id, raw, gone)) is not None]
            )
            await self._store.remove(*gone)
        after = 0
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
        return self._examiner.examine(raw, author)

    async def examine_relayed(self, raws: Sequence[bytes]) -> list[Listed[Body]]:
        """Those of many envelopes that are valid, whoever hands them on; checked in threads."""
        return await self._examiner.relayed(raws)

    async def admit(self, raw: bytes, author: PeerId | None) -> Listed[Body] | None:
        """Keep a valid item. None when it was known. Raises ProtocolError or CatalogFull; then nothing is stored."""
        listed = self.examine(raw, author)
        if self.knows(listed.item.id) or not self._inventory.counts(listed.item.id, hold(listed), listed.body):
            return None
        gone = self._room(listed.item.signer, len(raw))
        kept = await self.keep([listed], gone)
        return kept[0] if kept else None

    async def keep(self, examined: Sequence[Listed[Body]], gone: Sequence[ItemId] = ()) -> list[Listed[Body]]:
        """Keep examined items, in one write; those that were new. What finds no room is left out.

        `gone` made room already and leaves the disk in the same write.
        """
        evicted = list(gone)
        different = {one.item.id: one for one in examined}
        fitting = {id: (one, held) for id, one in different.items() if (held := self._fit(one, evicted)) is not None}
        arrivals = [
            Arrival(
                one.item.raw, companion(one, self._space, held), tuple(self._inventory.replaced(id, held, one.body))
            )
            for id, (one, held) in fitting.items()
        ]
        try:
            new = await self._store.add(arrivals, evicted, self._clock()) if arrivals or evicted else set()
        except BaseException:
            for _, held in fitting.values():
                self.quota.release(held.signer, held.size_bytes)
            raise
        done: list[Listed[Body]] = []
        lost: set[str] = set()
        for arrival in arrivals:
            one, held = fitting[ItemId(arrival.kept.id)]
            if one.item.id in new and self._inventory.counts(one.item.id, held, one.body):
                lost |= {*self._inventory.enter(one.item.id, held, one.body, self._space.mean(arrival.kept))}
                done.append(one)
            else:  # another came meanwhile that counts more
                self.quota.release(held.signer, held.size_bytes)
                if one.item.id in new:
                    self._inventory.forget(one.item.id, 0)
                    lost.add(one.item.id)
        lost -= {id for arrival in arrivals for id in arrival.replaces}
        if lost:
            await self._store.remove(*lost)
        return done

    # --- what is here ---

    @property
    def now(self) -> int:
        """The clock by which items live and rest (UTC seconds)."""
        return self._clock()

    @property
    def changes(self) -> int:
        """Grows with every item that comes or goes: who keeps something derived sees that it is old."""
        return self._inventory.changes

    @property
    def quota(self) -> Quota:
        """Who takes how much."""
        return self._inventory.quota

    def never_evict(self, peer: PeerId) -> None:
        """What this peer, we, has told makes room for nobody."""
        self._inventory.own.add(peer)

    def knows(self, id: str) -> bool:
        """Whether an item is here, or was and was replaced or expired."""
        return self._inventory.knows(id)

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
        return self._inventory.tree(domain)

    def get(self, id: str, kind: type[B]) -> Listed[B] | None:
        """The item `id` when it is here, open and a `kind`. An offer comes without its sketch and its envelope."""
        for name, how in KINDS.items():
            if issubclass(how.type, kind) and (held := self._inventory.held[name].get(ItemId(id))) is not None:
                return None if held.expires_at <= self._clock() else _as(held.listed(ItemId(id)), kind)
        return None

    def every(self, kind: type[B], *, domain: str | None = None, signer: str | None = None) -> Iterator[Listed[B]]:
        """All open items of a kind, in order of arrival; offers as from `get`. 4 µs each."""
        for name in (name for name, how in KINDS.items() if issubclass(how.type, kind)):
            for id, held in list(self._inventory.held[name].items()):
                meant = domain in (None, held.domain) and signer in (None, held.signer)
                if meant and held.expires_at > self._clock():
                    yield _as(held.listed(id), kind)

    def count(self, wanted: Wanted = EVERYTHING) -> int:
        """How many open offers are wanted."""
        return self._inventory.atlas.count(wanted, self._clock())

    # --- queries ---

    async def whole(self, ids: Sequence[str], kind: type[B]) -> list[Listed[B]]:
        """Those of the items that are here and open, complete, in this order."""
        open_ = [id for id in ids if self.get(id, kind) is not None]
        return [_as(one, kind) for one in await self._store.each(open_, lambda id, raw: trusted(ItemId(id), raw))]

    async def offers(self, wanted: Wanted = EVERYTHING) -> AsyncIterator[Listed[Offer]]:
        """The open offers that are wanted, complete, a few hundred at a time."""
        atlas = self._inventory.atlas
        ids = await self._in_thread(atlas.newest, len(atlas), wanted, self._clock())
        for start in range(0, len(ids), READ_AT_ONCE):
            for one in await self.whole(ids[start : start + READ_AT_ONCE], Offer):
                yield one

    async def newest(self, count: int, wanted: Wanted, after: str | None = None) -> list[Listed[Offer]]:
        """The newest open offers that are wanted, ties by id; those behind `after`, if that is here."""
        last = self._inventory.held[OFFER].get(ItemId(after)) if after is not None else None
        seen = (last.made_at, after) if last is not None and after is not None else None
        ids = await self._in_thread(self._inventory.atlas.newest, count, wanted, self._clock(), seen)
        return [one for id in ids if (one := self._meant(id, wanted)) is not None]

    async def nearest(
        self, vector: Vectors, model_id: str, count: int, wanted: Wanted = EVERYTHING
    ) -> list[tuple[Listed[Offer], float]]:
        """The open offers of an embedding model nearest to a query, best first, with their cosines.

        Exact among `LOOKED_AT` times as many candidates, chosen by their means (`python -m tests.bench.catalog` says
        what that misses). Of another space than ours the newest are the candidates.
        """
        meant, atlas = msgspec.structs.replace(wanted, model_id=model_id), self._inventory.atlas
        most, now = count + min(count * (LOOKED_AT - 1), LOOKED_AT_MOST), self._clock()
        if Space(model_id, len(vector)) == self._space:
            ids = await self._in_thread(atlas.nearest, vector, most, meant, now)
        else:
            ids = await self._in_thread(atlas.newest, most, meant, now)
        sketches = await self._store.each(ids, lambda id, raw: (id, sketch_of(raw)))
        scored = await self._in_thread(_scored, vector, sketches)
        found = ((one, score) for id, score in scored if (one := self._meant(id, meant)) is not None)
        return list(islice(found, count))

    async def sweep(self) -> int:
        """Drop what expired, on disk and in memory; returns how many rows."""
        now = self._clock()
        for id, since in self._inventory.expired(now):
            if id:
                self._inventory.remove(id)
                self._inventory.forget(id, since)
            else:
                await trio.lowlevel.checkpoint()
        return await self._store.expire(now)

    def _meant(self, id: str, wanted: Wanted) -> Listed[Offer] | None:
        """An offer that a thread has found, if it still is what is wanted."""
        one = self.get(id, Offer)
        return one if one is not None and wanted.admits(one.item.signer, one.body) else None

    async def _in_thread(self, find: Callable[..., list[T]], *args: object) -> list[T]:
        return await trio.to_thread.run_sync(find, *args, limiter=self._queries)

    # --- coming ---

    def _fit(self, listed: Listed[Body], evicted: list[ItemId]) -> Held | None:
        """What to hold of an item that is new, counts and has found its room; None of any other."""
        id, held = listed.item.id, hold(listed)
        if self.knows(id):
            return None
        if not self._inventory.counts(id, held, listed.body):
            self._inventory.forget(id, 0)
            return None
        try:
            evicted += self._room(held.signer, held.size_bytes)
        except CatalogFull as err:
            log.debug("item not kept", peer=held.peer, reason=str(err))
            self.put_off(id)
            return None
        self.quota.take(held.signer, held.size_bytes)
        return held

    def _room(self, signer: str, size_bytes: int) -> list[ItemId]:
        """Room for an item; what made it, which is not to come back at once. Raises CatalogFull."""
        gone = self._inventory.find_room(signer, size_bytes)
        for id in gone:
            self._refusals.add(id)
        return gone

    def _load(self, kept: Kept, raw: bytes, unplaced: list[ItemId]) -> list[ItemId]:
        """Enter what the journal has; the ids that should not be in it."""
        id, held = ItemId(kept.id), held_of(kept, raw)
        try:
            body = held.body()
        except (KeyError, msgspec.MsgspecError) as err:  # of another version of this program
            log.warning("an entry of the catalogue cannot be read", id=id, reason=str(err))
            return [id]
        if (body.network, body.chain_id) != (self._context.network, self._context.chain_id):
            return []
        if not self._inventory.counts(id, held, body):
            return [id]
        is_ours = isinstance(body, Offer) and body.model_id == self._space.model_id
        mean = self._space.mean(kept) if is_ours else None
        if is_ours and mean is None:
            unplaced.append(id)
        self.quota.take(held.signer, held.size_bytes)
        return self._inventory.enter(id, held, body, mean)

    async def _place_anew(self, ids: Sequence[ItemId]) -> None:
        """Place offers in a space that is new: the embedding model of this node is another than before."""
        atlas = self._inventory.atlas
        for listed in await self.whole(ids, Offer):
            kept = companion(Listed(item=listed.item, body=listed.body), self._space)
            held = self._inventory.held[OFFER][listed.item.id]
            atlas.remove(held.row)
            held.row = atlas.add(listed.item.id, held.signer, listed.body, self._space.mean(kept))
            if kept.mean is not None:
                await self._store.accompany([kept])

    def _accompanied(self, id: str, raw: bytes, gone: list[ItemId]) -> Kept | None:
        try:
            return companion(trusted(ItemId(id), raw), self._space)
        except (KeyError, msgspec.MsgspecError) as err:
            log.warning("an entry of the catalogue cannot be read", id=id, reason=str(err))
            gone.append(ItemId(id))
            return None


def _as(listed: Listed[Body], kind: type[B]) -> Listed[B]:
    assert isinstance(listed.body, kind)
    return Listed(item=listed.item, body=listed.body)


def _scored(vector: Vectors, sketches: list[tuple[str, bytes]]) -> list[tuple[str, float]]:
    """Ids and their closeness, best first."""
    ids = [id for id, _ in sketches]
    scores = closeness_of_many(vector, [sketch for _, sketch in sketches])
    return sorted(zip(ids, scores, strict=True), key=lambda pair: -pair[1])
