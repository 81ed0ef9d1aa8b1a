"""A search among peers who are slow, silent, or do not say the truth: real hosts, real messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import trio

import node.market.search.search as searching
from node.journal import open_journal
from node.journal.catalog import CatalogStore
from node.market.catalog.catalog import Catalog, Space
from node.market.kinds import Context
from node.market.search.outlining import Outlines
from node.market.search.search import Search
from node.market.search.sketch import sketch
from node.network import Network
from node.observe.events import EventBus
from node.shard import open_shard
from protocols.codec import encode
from protocols.envelope import sign_item
from protocols.ids import PeerId
from protocols.offers.offer import KIND
from protocols.search.messages import MAX_REQUEST_BYTES, PROTOCOL, SearchHit, SearchReply
from tests.support.embedder import HashEmbedder
from tests.support.items import CHAIN_ID, NETWORK, NOW, Purse, an_offer
from tests.support.network import member

QUERY = "navy wrap dress"
Reply = Callable[[str], Awaitable[bytes]]  # to a search, by the id of the own offer


class Stage:
    """An asker, and peers who answer as a test says."""

    def __init__(
        self, stack: AsyncExitStack, asker: Network, catalog: Catalog, search: Search, events: EventBus
    ) -> None:
        self.stack = stack
        self.asker = asker
        self.catalog = catalog
        self.search = search
        self.events = events
        self.offers: dict[PeerId, str] = {}

    async def peer(self, name: str, answer: Reply, *, records: int = 300) -> PeerId:
        """A peer whose one offer lies just where the query does."""
        host = await self.stack.enter_async_context(member(name))
        vectors = np.repeat(await HashEmbedder().embed([QUERY], query=True), 20, axis=0)
        number = len(self.offers) + 1
        offer = an_offer(
            offer_no=number, root=number.to_bytes(32, "big"), records=records, sketch=sketch(vectors),
            model_id=HashEmbedder().model_id,
        )  # fmt: skip
        purse = Purse(number)
        item = sign_item(
            KIND, encode(offer), peer=host.peer_id, signer=purse.address, chain_id=CHAIN_ID, sign=purse.sign
        )
        await self.catalog.admit(item.raw, host.peer_id)
        self.offers[host.peer_id] = item.id

        async def handle(_peer: PeerId, _body: bytes) -> bytes:
            return await answer(item.id)

        host.serve(PROTOCOL, handle, max_request_bytes=MAX_REQUEST_BYTES)
        await self.asker.connect(host.addresses[0])
        return host.peer_id


@asynccontextmanager
async def open_stage(folder: Path) -> AsyncIterator[Stage]:
    embedder, events = HashEmbedder(), EventBus()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        journal = await enter(open_journal(folder / "journal.db"))
        shard = await enter(open_shard(folder / "shard", embedder.model_id, embedder.dim))
        space = Space(embedder.model_id, embedder.dim)
        catalog = Catalog(CatalogStore(journal), Context(NETWORK, CHAIN_ID), lambda: NOW, space=space)
        asker = await enter(member("asker"))
        search = Search(
            shard=shard, embedder=embedder, catalog=catalog, offers=NothingOnOffer(), wire=asker,
            previews=None, outlines=Outlines(asker), events=events,
        )  # type: ignore[arg-type]  # fmt: skip
        yield Stage(stack, asker, catalog, search, events)


class NothingOnOffer:
    def offer_of(self, record: str) -> str | None:
        return None


def hits(*previews: str, offer: str, score: int = 900_000) -> bytes:
    """A reply, its hits a little worse from one to the next."""
    rows = [SearchHit(offer=offer, preview=text, score=score - n) for n, text in enumerate(previews)]
    return encode(SearchReply(hits=rows))


async def honest(offer: str) -> bytes:
    return hits("a navy dress", "a rust dress", offer=offer)


async def never(_offer: str) -> bytes:
    await trio.sleep_forever()
    raise AssertionError


async def test_who_never_answers_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_stage(tmp_path) as stage:
        monkeypatch.setattr(searching, "DEADLINE_S", 4.0)
        monkeypatch.setattr(searching, "PATIENCE_S", 0.5)
        monkeypatch.setattr(searching, "FIRST", 2)
        silent = {await stage.peer(f"silent-{n}", never, records=3_000) for n in range(2)}
        answering = {await stage.peer(f"good-{n}", honest) for n in range(2)}
        with stage.events.subscribe(["search"]) as heard, trio.fail_after(30):
            begun = trio.current_time()
            async with trio.open_nursery() as nursery:
                told: dict[PeerId, float] = {}

                async def listen() -> None:
                    async for event in heard:
                        told[event.data["peer"]] = trio.current_time() - begun  # type: ignore[index]

                nursery.start_soon(listen)
                found = await stage.search.run(QUERY, domain=None, limit=10, progress="mine")
                await trio.sleep(0.05)
                nursery.cancel_scope.cancel()
        assert (found.asked, found.answered) == (4, 2), "the silent promised most and were asked first"
        assert {one.peer for one in found.items} == answering
        assert len(found.items) == 4
        assert set(told) == answering | {stage.asker.peer_id}
        assert max(told.values()) < 4.0, "others' hits are told before the deadline ends the silence"
        factors = stage.search._trust.factors
        assert all(factors[peer] < 1 < 2 * factors[peer] + 0.1 for peer in silent)
        assert all(factors[peer] >= 0.3 for peer in answering)


async def test_who_is_late_is_counted_and_who_is_later_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_stage(tmp_path) as stage:
        monkeypatch.setattr(searching, "PATIENCE_S", 0.2)
        monkeypatch.setattr(searching, "FIRST", 2)
        asked_others = trio.Event()

        async def late(offer: str) -> bytes:
            with trio.fail_after(20):
                await asked_others.wait()
            return hits("late but best", offer=offer, score=990_000)

        async def other(offer: str) -> bytes:
            asked_others.set()
            return hits("in time", offer=offer)

        slow = await stage.peer("slow", late, records=9_000)
        await stage.peer("gone", never, records=9_000)
        await stage.peer("other", other)
        monkeypatch.setattr(searching, "DEADLINE_S", 6.0)
        with trio.fail_after(30):
            found = await stage.search.run(QUERY, domain=None, limit=10)
        assert (found.asked, found.answered) == (3, 2)
        assert [one.text for one in found.items] == ["late but best", "in time"]
        assert found.items[0].peer == slow


async def test_doubles_strangers_and_disorder_change_nothing(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:

        async def liar(offer: str) -> bytes:
            rows = [
                SearchHit(offer=offer, preview="low", score=100_000),
                *[SearchHit(offer=offer, preview="same", score=950_000)] * 20,
                SearchHit(offer="f" * 64, preview="of an offer nobody knows", score=1_000_000),
                SearchHit(offer=stage.offers[good], preview="of another's offer", score=1_000_000),
            ]
            return encode(SearchReply(hits=rows))

        good = await stage.peer("good", honest)
        await stage.peer("liar", liar)
        with trio.fail_after(30):
            found = await stage.search.run(QUERY, domain=None, limit=10)
            fashion = await stage.search.run(QUERY, domain="fashion", limit=10)
            food = await stage.search.run(QUERY, domain="food", limit=10)
        assert [one.text for one in found.items] == ["same", "a navy dress", "a rust dress", "low"]
        assert [one.text for one in fashion.items] == [one.text for one in found.items]
        assert (food.items, food.asked) == ([], 0)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xc1",
        encode({"hits": [{"offer": "0" * 64, "preview": "", "language": "", "score": float("nan")}]}),
        encode({"hits": [], "more": 1}),
        encode({"hits": [{"offer": "0" * 64, "preview": "x" * 5_000, "language": "", "score": 1}]}),
        b"x" * 200_000,
    ],
)
async def test_nonsense_is_no_answer(tmp_path: Path, garbage: bytes) -> None:
    async with open_stage(tmp_path) as stage:

        async def nonsense(_offer: str) -> bytes:
            return garbage

        liar = await stage.peer("liar", nonsense)
        await stage.peer("good", honest)
        with trio.fail_after(30):
            found = await stage.search.run(QUERY, domain=None, limit=10)
        assert (found.asked, found.answered, len(found.items)) == (2, 1, 2)
        assert stage.search._trust.factors[liar] == 0.5


async def test_no_more_are_asked_than_the_caller_allows(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        for n in range(4):
            await stage.peer(f"good-{n}", honest)
        with trio.fail_after(30):
            for most in (0, 1, 3):
                assert (await stage.search.run(QUERY, domain=None, limit=10, max_peers=most)).asked == most
