"""Forgetting what no offer holds: it needs neither wallet nor chain. What an offer holds: tests/integration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import trio
import trio.testing

from node.blocks import DaemonUnreachable, EmbeddedBlocks, open_embedded
from node.collect import Collector
from node.exchange.buyer import Saved
from node.exchange.forgetting import BoughtKeys
from node.journal import Journal, open_journal
from node.journal.catalog import CatalogStore
from node.journal.deals import Deal, Deals
from node.journal.erasures import Erasures
from node.journal.publications import Publication, Publications
from node.journal.sources import Sources
from node.journal.transactions import Transactions
from node.market.draft import Draft
from node.market.erasure import Erasure
from node.market.offers import OfferPolicy, Offers
from node.market.proof import Gone, RevokedOffer, remains_of
from node.models.memory import Remembering
from node.observe.events import EventBus
from node.refine import Refiner
from node.shard import Shard, open_shard
from protocols.exchange import machine
from protocols.exchange.purchase import Buyer, BuyerState, Terms
from protocols.ids import Cid
from protocols.offers.offer import Centroid
from protocols.quality import Quality
from tests.support.embedder import HashEmbedder
from tests.support.records import shard_record

RIGHTS = {"domain": "fashion", "licence": "cc0-1.0"}
TEXTS = [
    "The velvet coat from Marlow Street kept me warm through February, though its lining tore at the left pocket.",
    "A linen skirt bought for the harvest fair: it creases within minutes and yet I would choose it again at once.",
]
NOW = 1_700_000_000


class Desk:
    """A node's folder with everything that erasure touches, and no chain."""

    def __init__(self, folder: Path, journal: Journal, shard: Shard, blocks: EmbeddedBlocks) -> None:
        self.folder = folder
        self.journal = journal
        self.shard = shard
        self.blocks = blocks
        self.embedder = HashEmbedder()
        self.events = EventBus()
        self.publications = Publications(journal)
        self.deals = Deals(journal)
        refiner = Refiner(shard, self.embedder)
        self.collector = Collector(journal, shard, refiner, self.events, lambda: NOW, owner="0xA")
        self.erasure = self.new_erasure(blocks)

    def new_erasure(self, blocks: Any) -> Erasure:
        nobody = cast(Any, None)  # without an offer nobody asks the chain, the wallet or the peers
        offers = Offers(
            shard=self.shard, blocks=blocks, chain=nobody, transactor=nobody, store=self.publications, catalog=nobody,
            gossip=nobody, context=nobody, policy=OfferPolicy(1, 1), events=self.events, clock=lambda: NOW,
        )  # fmt: skip
        erasure = Erasure(
            shard=self.shard, blocks=blocks, chain=nobody, transactor=nobody, offers=offers, catalog=nobody,
            catalog_store=CatalogStore(self.journal), publications=self.publications, deals=self.deals,
            transactions=Transactions(self.journal), store=Erasures(self.journal), events=self.events,
            clock=lambda: NOW,
        )  # fmt: skip
        erasure.on_forget(BoughtKeys(self.deals, blocks).forget)
        return erasure

    def grep(self, what: bytes) -> list[str]:
        return [str(path) for path in self.folder.rglob("*") if path.is_file() and what in path.read_bytes()]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    folder, embedder = tmp_path / "node", HashEmbedder()
    folder.mkdir()
    async with (
        open_journal(folder / "journal.db") as journal,
        open_shard(folder / "shard", embedder.model_id, embedder.dim) as shard,
        open_embedded(folder / "blocks", None) as blocks,
    ):
        yield Desk(folder, journal, shard, blocks)


def lines(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


async def test_a_record_of_no_offer_is_gone_at_once_without_a_wallet(desk: Desk, tmp_path: Path) -> None:
    await desk.collector.add(str(lines(tmp_path / "a.jsonl", TEXTS)), **RIGHTS)
    gone, kept = await desk.shard.list()
    assert desk.grep(gone.text.encode())
    assert desk.grep(gone.vector.tobytes())
    proof = await desk.erasure.forget(id=gone.id)
    assert (proof.state, proof.forgotten, proof.records, proof.offers, proof.remains) == ("done", 1, [gone.id], [], [])
    assert not desk.grep(gone.text.encode())
    assert not desk.grep(gone.vector.tobytes())
    assert desk.grep(kept.text.encode())
    assert await desk.erasure.newest(10) == [proof]


async def test_forgetting_twice_answers_with_the_same_proof(desk: Desk) -> None:
    await desk.collector.put(TEXTS, **RIGHTS)
    (gone, _kept) = await desk.shard.list()
    first = await desk.erasure.forget(id=gone.id)
    assert await desk.erasure.forget(id=gone.id) == first
    assert len(await desk.erasure.newest(10)) == 1


async def test_what_was_never_here_is_nothing_to_forget(desk: Desk) -> None:
    for asked in ({"id": "0" * 64}, {"subject": "nobody"}):
        proof = await desk.erasure.forget(**asked)
        assert (proof.forgotten, proof.state, proof.erasure) == (0, "done", "")
    assert await desk.erasure.newest(10) == []


async def test_a_subject_is_forgotten_with_all_records_and_its_name(desk: Desk) -> None:
    await desk.collector.put(TEXTS, **RIGHTS, subject="Marguerite Duval")
    other = {**RIGHTS, "domain": "shoes"}  # a source of its own: this one keeps the subject's name
    await desk.collector.put(["My boots from Brixton squeak on every marble floor I have met so far."], **other)
    assert desk.grep(b"Marguerite Duval")
    proof = await desk.erasure.forget(subject="Marguerite Duval")
    assert proof.forgotten == 2
    assert await desk.shard.count() == 1
    assert not desk.grep(b"Marguerite Duval")
    assert all(source.subject == "" for source in await Sources(desk.journal).newest(10))


async def test_collecting_the_source_again_does_not_bring_it_back_removing_it_first_does(
    desk: Desk, tmp_path: Path
) -> None:
    path = lines(tmp_path / "a.jsonl", TEXTS)
    await desk.collector.add(str(path), **RIGHTS)
    (gone, _kept) = await desk.shard.list()
    await desk.erasure.forget(id=gone.id)
    again = await desk.collector.add(str(path), **RIGHTS)
    assert (again.records, again.known) == (0, 2)
    assert await desk.shard.get(gone.id) is None
    await desk.collector.remove(str(path))  # the deliberate way
    assert (await desk.collector.add(str(path), **RIGHTS)).records == 1
    assert await desk.shard.get(gone.id) is not None
    assert (await desk.erasure.forget(id=gone.id)).forgotten == 1


async def test_a_collection_that_crashed_does_not_bring_it_back_either(desk: Desk, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", TEXTS)
    await desk.collector.add(str(path), **RIGHTS)
    await desk.journal.write(
        lambda conn: conn.execute("UPDATE items SET outcome = 'pending'")
    )  # killed before settling
    (gone, _kept) = await desk.shard.list()
    await desk.erasure.forget(id=gone.id)
    await desk.collector.add(str(path), **RIGHTS)
    assert await desk.shard.get(gone.id) is None


async def test_the_refiner_no_longer_takes_it_for_a_duplicate(desk: Desk, tmp_path: Path) -> None:
    await desk.collector.put(TEXTS[:1], **RIGHTS)
    (gone,) = await desk.shard.list()
    await desk.erasure.forget(id=gone.id)
    report = await desk.collector.add(str(lines(tmp_path / "b.jsonl", TEXTS[:1])), **RIGHTS)
    assert (report.records, report.duplicates) == (1, 0)


async def test_remembered_vectors_are_forgotten() -> None:
    embedder = HashEmbedder()
    remembering = Remembering(embedder)
    await remembering.embed(TEXTS)
    remembering.forget()
    await remembering.embed(TEXTS)
    assert embedder.embedded == 2 * len(TEXTS)


# --- bought ---


def a_purchase(cid: str, *, over: bool) -> Deal:
    terms = Terms(
        deal="d1", offer="0" * 64, seller="0xS", cid=cid, root=bytes(32), cells=1, size_bytes=1, offer_no=1,
        offer_block=1, price_wei="1", max_price_wei="1", sample_cap=1,
    )  # fmt: skip
    phase = Buyer.SETTLED if over else Buyer.CONFIRMING
    state = BuyerState(terms=terms, secret=b"one-time" * 4, phase=phase, content_key=b"content!" * 4, records=1)
    saved = msgspec.msgpack.encode(Saved(state=machine.store(state), envelope=b"signed offer"))
    return Deal("d1", "buyer", "0" * 64, "1", phase, int(over), "", saved, NOW, NOW)


@pytest.mark.parametrize("over", [True, False])
async def test_a_bought_record_goes_with_the_key_it_came_by_once_its_deal_is_over(desk: Desk, over: bool) -> None:
    cid = await desk.blocks.add(b"the ciphertext of a payload")
    await desk.blocks.unpin(cid)
    await desk.deals.save(a_purchase(cid, over=over))
    (vector,) = await desk.embedder.embed(TEXTS[:1])
    bought = shard_record(TEXTS[0], vector, origin="bought", deal="d1", model_id=desk.embedder.model_id)
    await desk.shard.put([bought])
    assert desk.grep(b"content!" * 4)
    proof = await desk.erasure.forget(id=bought.id)
    assert (proof.state, proof.forgotten, proof.purchases) == ("done", 1, ["d1"])
    assert not desk.grep(TEXTS[0].encode())
    assert bool(desk.grep(b"content!" * 4)) is bool(desk.grep(b"one-time" * 4)) is not over
    assert await desk.blocks.has(cid) is not over
    assert len(proof.remains) == (0 if over else 1)
    row = await desk.deals.get("d1")
    assert row is not None
    state = machine.restore(msgspec.msgpack.decode(row.machine, type=Saved).state, BuyerState)
    assert (state.records, row.state) == (1, "settled" if over else "confirming")


# --- crash and trouble ---


class NoDaemon:
    """Blocks at an IPFS daemon that is away."""

    def __init__(self) -> None:
        self.away = True
        self.dropped: list[Cid] = []

    async def drop(self, cid: Cid) -> bool:
        if self.away:
            raise DaemonUnreachable("no IPFS daemon answers")
        self.dropped.append(cid)
        return False


def a_publication(records: list[str], **changes: Any) -> Publication:
    draft = Draft(
        title="Coats", domain="fashion", kind="records", licence="CC0-1.0", consent_root=bytes(32), cid="bafy",
        root=bytes(32), cells=1, cell_bytes=512, records=1, size_bytes=1, languages={}, quality=Quality(),
        model_id="m", sketch=[Centroid(vector=b"sketch!!", weight=1, focus=1)], floor_wei="0", expires_at=NOW,
    )  # fmt: skip
    row = Publication(
        publication="p1", state="announced", content_key=b"the key!" * 4, draft=msgspec.json.encode(draft),
        record_ids=msgspec.json.encode(records), dataset=7, offer_no=8, block=9, price_wei="1", offer="", created_at=1,
    )  # fmt: skip
    return msgspec.structs.replace(row, **changes)


async def test_the_key_is_destroyed_before_anything_that_can_fail(desk: Desk) -> None:
    await desk.collector.put(TEXTS, **RIGHTS)
    (gone, _kept) = await desk.shard.list()
    await desk.publications.begin(a_publication([gone.id]))
    assert desk.grep(b"the key!" * 4)
    daemon = NoDaemon()
    erasure = desk.new_erasure(daemon)
    proof = await erasure.forget(id=gone.id)
    assert (proof.state, proof.waiting) == ("begun", "no IPFS daemon answers")
    assert erasure.waiting
    (row,) = await desk.publications.all()
    assert (row.content_key, row.state) == (None, "withdrawn")
    assert msgspec.json.decode(row.draft, type=Draft).sketch == []
    assert await desk.shard.get(gone.id) is None
    daemon.away = False
    await erasure.resume(here_only=True)
    (proof,) = await erasure.newest(1)
    assert (proof.state, proof.waiting, daemon.dropped) == ("here", "", ["bafy"])
    assert not desk.grep(b"the key!" * 4)


async def test_a_publication_whose_key_is_gone_goes_no_further(desk: Desk) -> None:
    await desk.publications.begin(a_publication(["r1", "r2"], state="sealed"))
    assert [row.publication for row in await desk.publications.containing(["r2", "other"])] == ["p1"]
    assert await desk.publications.advance("p1", "registered", dataset=3)
    await desk.publications.destroy_key("p1")
    assert not await desk.publications.advance("p1", "offered", offer_no=4)
    assert [(row.state, row.offer_no) for row in await desk.publications.all()] == [("registered", 8)]
    assert await desk.publications.containing(["r2"]) == []


async def test_hooks_hear_what_went_and_add_what_remains(desk: Desk) -> None:
    heard: list[Gone] = []

    async def hook(gone: Gone) -> list[str]:
        heard.append(gone)
        return ["a model may have learnt from it"]

    desk.erasure.on_forget(hook)
    await desk.collector.put(TEXTS, **RIGHTS)
    (gone, _kept) = await desk.shard.list()
    proof = await desk.erasure.forget(id=gone.id)
    assert heard == [Gone([gone.id], ["fashion"], [])]
    assert proof.remains == ["a model may have learnt from it"]


async def test_no_erasure_begins_while_a_record_is_written_back(desk: Desk) -> None:
    await desk.collector.put(TEXTS, **RIGHTS)
    (gone, _kept) = await desk.shard.list()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery, desk.erasure.undisturbed():
            nursery.start_soon(lambda: desk.erasure.forget(id=gone.id))
            await trio.testing.wait_all_tasks_blocked()
            await desk.shard.put([gone])
    assert await desk.shard.get(gone.id) is None


def test_what_remains_is_said_only_where_it_does() -> None:
    plain = RevokedOffer(
        publication="p", offer="", title="t", domain="d", licence="CC0-1.0", cid="c", dataset=0, offer_no=0, sales=0,
        locked=0, posted=0,
    )  # fmt: skip
    assert remains_of(plain) == []
    said = remains_of(msgspec.structs.replace(plain, offer="o1", dataset=5, sales=2, locked=1, posted=1))
    assert len(said) == 5
    assert all(sentence.startswith("offer o1: ") for sentence in said)
    assert said[0].startswith("offer o1: 2 sold; their buyers hold the records under CC0-1.0")


async def test_destroyed_keys_leave_no_trace_in_the_journals_file(desk: Desk) -> None:
    """SQLite leaves overwritten cells in free space and in the log unless it is told otherwise."""
    random = np.random.default_rng(1)
    keys = [hashlib.sha256(bytes([n])).digest() for n in range(200)]
    for n, key in enumerate(keys):
        draft = random.bytes(int(random.integers(100, 3_000)))
        await desk.publications.begin(
            a_publication([], publication=random.bytes(8).hex(), content_key=key, draft=draft)
        )
        if n % 3 == 0:  # rows that grow move to other pages
            rows = await desk.publications.all()
            moved = random.bytes(2_000)
            await desk.journal.write(
                lambda conn, id=rows[n // 2].publication, draft=moved: conn.execute(
                    "UPDATE publications SET draft = ? WHERE publication = ?", (draft, id)
                )
            )
    assert all(desk.grep(key) for key in keys[::50])
    for row in await desk.publications.all():
        await desk.publications.destroy_key(row.publication)
    await desk.journal.scrub()
    left = b"".join(path.read_bytes() for path in desk.folder.glob("journal.db*"))
    assert [key for key in keys if key in left] == []
