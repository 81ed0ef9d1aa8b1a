"""A search between real hosts, real shards and real messages on loopback, all in one process."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import trio

from node.embed import Embedder, EmbedderOptions, open_embedder
from node.journal import Journal, open_journal
from node.journal.catalog import CatalogStore
from node.journal.model_accounts import ModelAccounts
from node.journal.publications import Publication
from node.market.catalog.catalog import Catalog, Space
from node.market.kinds import Context
from node.market.search.answering import Answering
from node.market.search.outlining import Outlines, Outlining
from node.market.search.search import MOST_PEERS, Search
from node.market.search.sketch import sketch
from node.network import Network
from node.observe.events import EventBus
from node.shard import open_shard
from protocols.codec import encode
from protocols.envelope import sign_item
from protocols.offers.offer import KIND
from tests.bench.finding.choosing import FLOOR, WANTED
from tests.bench.finding.data import Corpus
from tests.support.items import CHAIN_ID, NETWORK, Purse, an_offer
from tests.support.network import member
from tests.support.records import shard_record

SETTLED_S = 60.0  # for outlines to be made and fetched


class _Shelf:
    """The one offer of a node, in which every record of its stands; as `OnOffer` and as the journal of own offers."""

    def __init__(self, offer: str = "", records: list[str] | None = None) -> None:
        self._offer = offer
        self._records = records or []

    def offer_of(self, record: str) -> str:
        return self._offer

    async def by_offer(self, offer: str) -> Publication:
        ids = msgspec.json.encode(self._records)
        return Publication(
            publication="", state="announced", content_key=b"", draft=b"", record_ids=ids,
            dataset=0, offer_no=0, block=0, price_wei="0", offer=offer, created_at=0,
        )  # fmt: skip


async def on_loopback(corpus: Corpus, holder: np.ndarray, nodes: int) -> None:
    """One more node, with nothing of its own, asks: first by sketches, then when it knows the outlines."""
    best = np.argsort(-(corpus.queries @ corpus.vectors.T), axis=1)[:, :WANTED]
    embedder = await open_embedder(EmbedderOptions())
    print(f"\nsearch.run between {nodes} real hosts and an asker in one process, load {os.getloadavg()[0]:.1f}")
    async with _asker(corpus, holder, nodes, embedder) as (search, outlines, offers):
        await _measure("sketches", search, corpus, best, MOST_PEERS)
        async with trio.open_nursery() as nursery:
            begun = time.perf_counter()
            await nursery.start(outlines.serve)
            with trio.move_on_after(SETTLED_S):
                while not all(outlines.of(offer) for offer in offers):
                    await trio.sleep(0.05)
            known = sum(outlines.of(offer) is not None for offer in offers)
            print(
                f"  outlines of {known} of {len(offers)} offers made and fetched in {time.perf_counter() - begun:.1f} s"
            )
            for most in (MOST_PEERS, nodes):
                await _measure("outlines", search, corpus, best, most)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def _asker(
    corpus: Corpus, holder: np.ndarray, nodes: int, embedder: Embedder
) -> AsyncIterator[tuple[Search, Outlines, list[str]]]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        folder = Path(stack.enter_context(TemporaryDirectory()))
        journal = await enter(open_journal(folder / "journal.db"))
        space = Space(embedder.model_id, embedder.dim)
        context = Context(NETWORK, CHAIN_ID)
        catalog = Catalog(CatalogStore(journal), context, lambda: an_offer().created_at, space=space)
        asker = await enter(member("asker", reachability="public"))
        offers = []
        for node in range(nodes):
            own = np.flatnonzero(holder == node)
            if len(own):
                host = await enter(member(f"node-{node}", reachability="public"))  # nobody needs to dial back
                offers.append(await _join(stack, catalog, corpus, own, node, host, embedder, journal, folder))
                await asker.connect(host.addresses[0])
        outlines = Outlines(asker)
        empty = await enter(open_shard(folder / "asker", embedder.model_id, embedder.dim))
        yield Search(
            shard=empty, embedder=embedder, catalog=catalog, offers=_Shelf(), wire=asker, previews=None,
            outlines=outlines, events=EventBus(),
        ), outlines, offers  # fmt: skip


async def _join(
    stack: AsyncExitStack, catalog: Catalog, corpus: Corpus, own: np.ndarray, node: int, host: Network,
    embedder: Embedder, journal: Journal, folder: Path,
) -> str:  # fmt: skip
    """A node with these documents, all in one offer, which the asker knows; the offer's id."""
    shard = await stack.enter_async_context(open_shard(folder / str(node), embedder.model_id, embedder.dim))
    records = [
        shard_record(f"{i} {corpus.texts[i]}", corpus.vectors[i], title="", model_id=embedder.model_id) for i in own
    ]
    await shard.put(records)
    offer = msgspec.structs.replace(
        an_offer(),
        offer_no=node + 1,
        root=node.to_bytes(32, "big"),
        records=len(own),
        sketch=sketch(corpus.vectors[own]),
        model_id=embedder.model_id,
    )
    purse = Purse(node + 1)
    item = sign_item(KIND, encode(offer), peer=host.peer_id, signer=purse.address, chain_id=CHAIN_ID, sign=purse.sign)
    await catalog.admit(item.raw, host.peer_id)
    shelf = _Shelf(item.id, [record.id for record in records])
    Answering(
        shard=shard, embedder=embedder, offers=shelf, wire=host, signer=purse, till=None,
        accounts=ModelAccounts(journal), price_wei=0, clock=lambda: 0,
    ).serve()  # fmt: skip
    Outlining(shard=shard, own=shelf, wire=host, least=FLOOR).serve()
    return item.id


async def _measure(by: str, search: Search, corpus: Corpus, best: np.ndarray, most: int) -> None:
    seconds, caught, peers = [], [], []
    for query, right in zip(corpus.asked, best, strict=True):
        begun = time.perf_counter()
        found = await search.run(query, domain=None, limit=WANTED, max_peers=most)
        seconds.append(time.perf_counter() - begun)
        shown = {int(hit.text.split(" ", 1)[0]) for hit in found.items}
        caught.append(len(shown & {int(i) for i in right}) / WANTED)
        peers.append(found.asked)
    cuts = statistics.quantiles(seconds, n=100)
    print(
        f"  by {by}, at most {most:2}: {statistics.mean(peers):.2f} asked, recall@{WANTED} "
        f"{statistics.mean(caught):.3f}, p50 {1000 * cuts[49]:.0f} ms, p99 {1000 * cuts[98]:.0f} ms",
        flush=True,
    )
