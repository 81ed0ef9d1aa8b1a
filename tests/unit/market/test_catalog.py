"""What comes, what goes, and who makes room: in memory, on disk, in the atlas and in the tree."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from node.journal import open_journal
from node.journal.catalog import CatalogStore
from node.market.catalog.catalog import Catalog, Space, Wanted
from node.market.catalog.memory import FIRST_REST_S, LONGEST_REST_S, Refusals
from node.market.catalog.quota import Limits, cut
from node.market.errors import CatalogFull
from node.market.kinds import KINDS, Context
from node.market.search.sketch import sketch
from protocols.demand.demand import Demand
from protocols.envelope import Item
from protocols.ids import PeerId
from protocols.offers.offer import Offer
from protocols.offers.withdrawal import Withdrawal
from tests.support.items import ALICE, BOB, CHAIN_ID, NETWORK, NOW, Purse, a_demand, a_withdrawal, an_offer, signed
from tests.unit.market.conftest import DIM
from tests.unit.market.test_atlas import points

MODEL = an_offer().model_id


class Shelf:
    """A catalogue over a journal, and a clock that can be set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = NOW
        self.catalog: Catalog

    @asynccontextmanager
    async def open(
        self, limits: Limits | None = None, space: Space | None = None, chain_id: int = CHAIN_ID
    ) -> AsyncIterator[Catalog]:
        async with open_journal(self.path) as journal:
            clock = lambda: self.now  # noqa: E731
            self.catalog = Catalog(
                CatalogStore(journal),
                Context(NETWORK, chain_id),
                clock,
                space=space or Space(MODEL, DIM),
                limits=limits,
            )
            await self.catalog.load()
            yield self.catalog

    def rows(self) -> set[str]:
        """The ids on disk; each has its companion."""
        with sqlite3.connect(self.path) as conn:
            ids = {row[0] for row in conn.execute("SELECT id FROM catalog")}
            assert ids == {row[0] for row in conn.execute("SELECT id FROM catalog_kept")}
        return ids

    async def holds(self, *items: Item) -> None:
        """Exactly these are here, wherever one looks; offers of the domain `fashion` and what takes them back."""
        catalog, ids = self.catalog, {item.id for item in items}
        offers = {item.id for item in items if item.kind == "offer"}
        assert self.rows() == ids
        assert {one.item.id for one in catalog.every(Offer)} == offers
        assert {one.item.id for one in await catalog.newest(100, Wanted())} == offers
        assert {one.item.id for one, _ in await catalog.nearest(points(1, 1)[0], MODEL, 100)} == offers
        assert catalog.count() == len(offers)
        assert len(catalog._inventory.atlas) == len(offers)
        assert len(catalog.tree("fashion")) == len(ids)
        assert all(id in catalog.tree("fashion") for id in ids)
        assert sum(catalog.quota.items.values()) == len(ids)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "journal.db")


def offered(number: int, purse: int = 1, peer: PeerId = ALICE, **changes: object) -> Item:
    body = an_offer(offer_no=number, sketch=sketch(points(40, number)), **changes)
    return signed(body, Purse(purse), peer)


async def take(catalog: Catalog, *items: Item) -> None:
    for item in items:
        await catalog.admit(item.raw, None)


async def take_together(catalog: Catalog, *items: Item) -> None:
    await catalog.keep([catalog.examine(item.raw, None) for item in items])


@pytest.mark.parametrize("taking", [take, take_together])
@pytest.mark.parametrize("first", [True, False])
async def test_what_is_withdrawn_is_gone_whichever_comes_first(shelf: Shelf, taking: object, first: bool) -> None:
    item, other = offered(1), offered(2)
    taken_back = signed(a_withdrawal(item), Purse(1), ALICE)
    stranger = signed(a_withdrawal(other), Purse(9), BOB)
    order = (taken_back, item) if first else (item, taken_back)
    async with shelf.open() as catalog:
        await taking(catalog, *order, other, stranger)  # type: ignore[operator]
        await shelf.holds(taken_back, other, stranger)
    async with shelf.open() as catalog:
        await shelf.holds(taken_back, other, stranger)
        await take(catalog, item)
        await shelf.holds(taken_back, other, stranger)


@pytest.mark.parametrize("taking", [take, take_together])
async def test_of_two_on_one_subject_the_newer_stays_whichever_comes_first(
    shelf: Shelf, tmp_path: Path, taking: object
) -> None:
    old, new = offered(1, title="old"), offered(1, title="new", created_at=NOW + 1)
    twins = sorted((offered(2, title=title) for title in ("a", "b")), key=lambda item: item.id)
    for name, order in (("there.db", (old, new, *twins)), ("back.db", (new, old, *reversed(twins)))):
        shelf.path = tmp_path / name
        async with shelf.open() as catalog:
            await taking(catalog, *order)  # type: ignore[operator]
            await shelf.holds(new, twins[1])
        async with shelf.open():
            await shelf.holds(new, twins[1])


async def test_of_two_that_arrive_at_one_moment_the_newer_stays(shelf: Shelf) -> None:
    items = [offered(1, title=str(n), created_at=NOW + n) for n in range(8)]
    async with shelf.open() as catalog:
        async with trio.open_nursery() as nursery:
            for item in (items[3], items[0], items[7], items[5], items[1]):
                nursery.start_soon(take_together, catalog, item)
        await shelf.holds(items[7])


async def test_what_expired_is_gone_and_may_come_again_when_the_clock_was_wrong(shelf: Shelf) -> None:
    short, long = offered(1, expires_at=NOW + 10), offered(2)
    async with shelf.open() as catalog:
        await take(catalog, short, long)
        shelf.now = NOW + 11
        assert catalog.count() == 1
        assert await catalog.sweep() == 1
        await shelf.holds(long)
        assert not catalog.misses(short.id), "neighbours who did not sweep yet need not send it"
        shelf.now = NOW
        assert catalog.misses(short.id)
        await take(catalog, short)
        await shelf.holds(short, long)
        shelf.now = NOW + 10**9
        await catalog.sweep()
        await shelf.holds()
        shelf.now = NOW
        await take(catalog, short, long)
        shelf.now = NOW + 11
    async with shelf.open():
        await shelf.holds(long)


async def test_a_withdrawal_is_forgotten_after_the_last_that_it_could_take_back(shelf: Shelf) -> None:
    item = offered(1)
    async with shelf.open() as catalog:
        await take(catalog, signed(a_withdrawal(item), Purse(1), ALICE))
        shelf.now = KINDS["withdrawal"].expires_at(a_withdrawal(item))
        await catalog.sweep()
        await shelf.holds()
        assert not catalog._inventory._withdrawn
        assert not catalog._inventory._newest
        assert not catalog._inventory._trees


async def test_an_offer_is_slim_in_memory_and_whole_from_the_journal(shelf: Shelf) -> None:
    item, want = offered(1), signed(a_demand(), Purse(1), ALICE)
    async with shelf.open() as catalog:
        await take(catalog, item, want)
    async with shelf.open() as catalog:
        found = catalog.get(item.id, Offer)
        assert found is not None
        assert (found.body.title, found.body.sketch, found.item.raw) == ("Dresses, reviewed", [], b"")
        (whole,) = await catalog.whole([item.id, "00" * 32], Offer)
        assert whole.item == item
        assert whole.body == catalog.examine(item.raw, None).body
        demand = catalog.get(want.id, Demand)
        assert demand is not None
        assert (demand.item.raw, demand.body) == (want.raw, a_demand())
        assert catalog.get(item.id, Demand) is None
        assert catalog.get(item.id, Withdrawal) is None


async def test_items_of_another_chain_stay_out_after_a_restart(shelf: Shelf) -> None:
    async with shelf.open() as catalog:
        await take(catalog, offered(1))
    async with shelf.open(chain_id=CHAIN_ID + 1) as catalog:
        assert catalog.count() == 0


async def test_another_embedding_model_places_its_own_offers_anew(shelf: Shelf) -> None:
    other = "another model"
    items = [offered(1), offered(2, model_id=other)]
    async with shelf.open() as catalog:
        await take(catalog, *items)
    for _ in range(2):
        async with shelf.open(space=Space(other, DIM)) as catalog:
            query = points(1, 3)[0]
            (found,) = await catalog.nearest(query, other, 5)
            assert found[0].item.id == items[1].id
            placed = catalog._inventory.atlas._blocks[0].rows["ranked"]
            assert placed.sum() == 1
            (found,) = await catalog.nearest(query, MODEL, 5)
            assert found[0].item.id == items[0].id, "of another space: ranked among the newest"


async def test_entries_of_an_older_version_get_their_companions(shelf: Shelf) -> None:
    items = [offered(n) for n in range(1, 6)]
    async with shelf.open() as catalog:
        await take(catalog, *items)
    with sqlite3.connect(shelf.path) as conn:
        conn.execute("DELETE FROM catalog_kept WHERE seq % 2 = 0")
    async with shelf.open():
        await shelf.holds(*items)


async def test_entries_that_another_version_cannot_read_leave_and_hinder_nobody(shelf: Shelf) -> None:
    items = [offered(n) for n in range(1, 7)]
    async with shelf.open() as catalog:
        await take(catalog, *items)
    with sqlite3.connect(shelf.path) as conn:
        conn.execute("UPDATE catalog_kept SET kept = x'80' WHERE seq = 1")
        conn.execute("UPDATE catalog_kept SET kind = 'rumour' WHERE seq = 2")
        conn.execute("UPDATE catalog SET raw = x'c0' WHERE seq = 3")
        conn.execute("DELETE FROM catalog_kept WHERE seq = 3")
    async with shelf.open():
        await shelf.holds(*items[3:])


# --- room ---


async def test_an_author_over_his_quota_is_refused_by_number_and_by_size(shelf: Shelf) -> None:
    items = [offered(n) for n in range(1, 5)]
    size = len(items[0].raw)
    for limits in (Limits(items_a_signer=3), Limits(bytes_a_signer=3 * size + 100)):
        async with shelf.open(limits) as catalog:
            await take_together(catalog, *items)
            assert catalog.count() == 3
            with pytest.raises(CatalogFull):
                await take(catalog, items[3])
            await take(catalog, offered(9, purse=2))
            assert catalog.count() == 4
            await shelf.holds(*items[:3], offered(9, purse=2))
        shelf.path = shelf.path.with_suffix(".second")


async def test_a_full_catalogue_takes_from_those_who_hold_most_what_expires_first(shelf: Shelf) -> None:
    greedy = [offered(n, purse=1, expires_at=NOW + 2_000 - n) for n in range(1, 9)]
    modest = [offered(n, purse=2) for n in (21, 22)]
    own = [offered(n, purse=3, peer=BOB, expires_at=NOW + 5) for n in (31, 32, 33)]
    async with shelf.open(Limits(items=13)) as catalog:
        catalog.never_evict(BOB)
        await take(catalog, *greedy, *modest, *own)
        await shelf.holds(*greedy, *modest, *own)
        new = offered(41, purse=4)
        await take(catalog, new)
        await shelf.holds(*greedy[:7], *modest, *own, new)
        assert not catalog.misses(greedy[7].id), "what made room does not come back at once"
        with pytest.raises(CatalogFull):
            await take(catalog, offered(10, purse=1))
        await take(catalog, *(offered(50 + n, purse=50 + n) for n in range(4)))
        assert catalog.quota.items[Purse(1).address] == 3
        assert catalog.quota.items[Purse(2).address] == 2
        assert catalog.quota.items[Purse(3).address] == 3
        assert len(shelf.rows()) == 13


async def test_our_own_items_make_room_for_nobody(shelf: Shelf) -> None:
    own = [offered(n, purse=3, peer=BOB) for n in range(1, 5)]
    async with shelf.open(Limits(items=4)) as catalog:
        catalog.never_evict(BOB)
        await take(catalog, *own)
        with pytest.raises(CatalogFull):
            await take(catalog, offered(9, purse=4))
        await shelf.holds(*own)


async def test_many_large_items_do_not_fill_the_disk(shelf: Shelf) -> None:
    size = len(offered(1).raw)
    async with shelf.open(Limits(size_bytes=10 * size)) as catalog:
        for number in range(1, 60):
            try:
                await take(catalog, offered(number, purse=number % 7 + 1))
            except CatalogFull:
                continue
        assert sum(catalog.quota.sizes.values()) <= 10 * size
        assert len(shelf.rows()) == catalog.count() >= 8
        assert max(catalog.quota.items.values()) - min(catalog.quota.items.values()) <= 1


async def test_what_fails_to_be_written_takes_no_room(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> set[str]:
        raise sqlite3.OperationalError("database or disk is full")

    async with shelf.open() as catalog:
        with monkeypatch.context() as patched:
            patched.setattr(catalog._store, "add", full)
            with pytest.raises(sqlite3.OperationalError):
                await take(catalog, offered(1))
        await shelf.holds()
        await take(catalog, offered(1))
        await shelf.holds(offered(1))


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 50), min_size=1), st.integers(1, 400))
def test_who_holds_most_is_cut_and_nobody_more_than_needed(held: dict[str, int], wanted: int) -> None:
    length = cut(held, wanted)
    freed = sum(max(0, size - length) for size in held.values())
    assert freed >= min(wanted, sum(held.values()))
    assert length == 0 or sum(max(0, size - length - 1) for size in held.values()) < wanted


def test_a_refusal_rests_longer_each_time_and_not_when_the_clock_was_set_back() -> None:
    now = [NOW]
    refusals = Refusals(lambda: now[0])
    rests = []
    for _ in range(12):
        refusals.add("id")
        refusals.add("id")
        assert not refusals.over("id")
        rests.append(refusals.until("id") - now[0])
        now[0] = refusals.until("id")
        assert refusals.over("id")
    assert rests[:3] == [FIRST_REST_S, 2 * FIRST_REST_S, 4 * FIRST_REST_S]
    assert rests[-1] == LONGEST_REST_S
    refusals.add("id")
    now[0] -= 100_000
    assert refusals.over("id")


def test_every_kind_says_how_memory_keeps_it() -> None:
    for name, kind in KINDS.items():
        assert issubclass(kind.type, msgspec.Struct), name
