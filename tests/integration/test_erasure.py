"""Forgetting a record that is on sale, on a real chain: what the seller's disk, his peers and the contracts know after.

`grep` looks at every file of the seller's folder, and is first seen to find what must go.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from contracts.anvil import Anvil, find_anvil, start_anvil
from contracts.deploy import deploy
from contracts.errors import Reverted
from contracts.params import Deployment, DeployParams
from node.collect import Collector
from node.exchange.errors import SellerSilent
from node.exchange.seller_client import ask_key
from node.journal.publications import Publication
from node.market.catalog.atlas import mean_of
from node.market.erasure import Erasure
from node.market.proof import Proof
from node.observe.events import EventBus
from node.refine import Refiner
from node.shard import ShardRecord
from protocols.exchange.handover import one_time_key, public_point
from protocols.offers.offer import Offer
from tests.integration.test_exchange import TEXTS, TOKENS
from tests.support.eraser import Eraser, open_eraser
from tests.support.items import ALICE, BOB
from tests.support.trader import Pantry, Trader, open_trader
from tests.support.wire import Hub

pytestmark = pytest.mark.chain


@dataclass
class Place:
    anvil: Anvil
    deployment: Deployment
    hub: Hub
    pantry: Pantry
    folder: Path

    def key(self, number: int) -> bytes:
        return bytes.fromhex(self.anvil.keys[number].removeprefix("0x"))

    def alice(self, folder: str = "alice") -> AbstractAsyncContextManager[Eraser]:
        return open_eraser(
            ALICE, self.key(1), self.hub, self.pantry, self.folder / folder, self.anvil.rpc_url, self.deployment
        )

    def bob(self) -> AbstractAsyncContextManager[Trader]:
        return open_trader(
            BOB, self.key(2), self.hub, self.pantry, self.folder / "bob", self.anvil.rpc_url, self.deployment
        )

    def pass_time(self, seconds: int) -> None:
        self.anvil.call("evm_increaseTime", seconds)
        self.anvil.call("evm_mine")


@pytest.fixture(scope="module")
def chain() -> Iterator[tuple[Anvil, Deployment]]:
    if find_anvil() is None:
        pytest.skip("anvil is missing: npm ci in contracts/ brings it")
    with start_anvil() as anvil:
        yield anvil, deploy(anvil.rpc_url, anvil.keys[0], DeployParams())


@pytest.fixture
def place(chain: tuple[Anvil, Deployment], tmp_path: Path) -> Place:
    return Place(*chain, Hub(), Pantry(), tmp_path)


async def fund(place: Place, *traders: Trader) -> None:
    async with open_trader(
        "12D3KooWFaucet", place.key(0), Hub(), place.pantry, place.folder / "faucet", place.anvil.rpc_url,
        place.deployment,
    ) as faucet:  # fmt: skip
        for trader in traders:
            call = faucet.chain.token.transfer(trader.account.address, 1_000 * TOKENS)
            await faucet.transactor.once(f"fund:{trader.account.address}", call)


async def on_sale(place: Place, alice: Eraser, bob: Trader | None = None) -> tuple[Publication, ShardRecord]:
    """Alice's texts on offer, heard by Bob; the publication and the record that will be forgotten."""
    await fund(place, alice.trader, *([bob] if bob else []))
    if bob is not None:
        await bob.gossip.follow("fashion")
    await alice.trader.own(TEXTS)
    listed = await alice.trader.offers.publish("fashion", "Dresses, reviewed")
    for _ in range(3):  # the blocks whose hash chooses the sample
        place.anvil.call("evm_mine")
    with trio.fail_after(5):
        while bob is not None and bob.catalog.get(listed.item.id, Offer) is None:
            await trio.sleep(0.01)
    (row,) = await alice.trader.publications.all()
    record = next(record for record in await alice.trader.shard.list(limit=1_000) if record.text == TEXTS[7])
    assert row.content_key is not None
    assert_held(alice, row, record)
    return row, record


def secrets_of(row: Publication, record: ShardRecord) -> dict[str, bytes]:
    assert row.content_key is not None
    return {"text": record.text.encode(), "vector": record.vector.tobytes(), "content key": row.content_key}


def assert_held(alice: Eraser, row: Publication, record: ShardRecord) -> None:
    """The control: each of what must go is where `grep` looks."""
    for name, secret in secrets_of(row, record).items():
        assert alice.grep(secret), f"the {name} should still be there"


def assert_gone(alice: Eraser, row: Publication, record: ShardRecord) -> None:
    for name, secret in secrets_of(row, record).items():
        assert alice.grep(secret) == [], name
        assert alice.grep(secret.hex().encode()) == [], name


async def assert_revoked(place: Place, alice: Eraser, row: Publication, proof: Proof) -> None:
    """The chain says it to anybody, and the proof's transactions are those that did it."""
    chain, (offer,) = alice.trader.chain, proof.offers
    assert (offer.dataset, offer.offer_no) == (row.dataset, row.offer_no)
    assert not await chain.registry.is_active(row.dataset)
    assert not (await chain.sale.offer_terms(row.offer_no)).is_open
    bx, by = public_point(one_time_key(lambda size: b"\x07" * size))
    with pytest.raises(Reverted) as refused:
        await chain.estimate(chain.sale.lock(row.offer_no, 1_000 * TOKENS, bx, by), alice.trader.account.address)
    assert refused.value.name == "OfferNotOpen"  # it would come before any question of money
    for name, hash in (("Revoked", offer.revoke_tx), ("Closed", offer.close_tx)):
        receipt = await chain.receipt(hash)
        assert receipt is not None
        assert name in [log.name for log in receipt.logs]


async def test_after_forgetting_neither_disk_nor_peers_nor_chain_offer_it(place: Place) -> None:
    async with place.alice() as alice, place.bob() as bob:
        row, record = await on_sale(place, alice, bob)
        deal = await bob.desk.buy(row.offer, 1_000 * TOKENS)
        assert await bob.over(deal) == "settled"
        await alice.trader.over(f"sale-{(await bob.desk.view(deal)).sale}")
        assert (alice.folder / "journal.db-wal").stat().st_size > 0
        assert alice.trader.offers.offer_of(record.id) == row.offer
        (told,) = await alice.trader.catalog.whole([row.offer], Offer)
        sketch, mean = told.body.sketch[0].vector, mean_of(told.body.sketch).tobytes()
        assert alice.grep(mean)
        assert alice.grep(sketch)

        proof = await alice.erasure.forget(id=record.id)

        assert (proof.state, proof.waiting, proof.forgotten, proof.records) == ("done", "", 1, [record.id])
        (offer,) = proof.offers
        assert (offer.offer, offer.sales, offer.locked) == (row.offer, 1, 0)
        assert offer.withdrawn
        assert offer.ciphertext_removed
        assert "1 sold" in proof.remains[0]
        assert_gone(alice, row, record)
        assert record.text.encode() not in msgspec.json.encode(proof)
        assert alice.grep(sketch) == alice.grep(mean) == [], "centroids of embeddings are of the embeddings"
        assert not await alice.blocks.has(offer.cid)
        assert await alice.blocks.pins() == []
        assert alice.trader.offers.offer_of(record.id) is None
        assert await alice.trader.shard.count() == len(TEXTS) - 1
        with trio.fail_after(5):
            while bob.catalog.get(row.offer, Offer) is not None:
                await trio.sleep(0.01)
        await assert_revoked(place, alice, row, proof)
        assert (await bob.shard.get(record.id)) is not None, "what was sold is the buyer's"

        assert await alice.erasure.forget(id=record.id) == proof
        again = await alice.trader.offers.publish("fashion", "What is left")
        assert again.body.records == len(TEXTS) - 1
    async with place.alice() as alice:
        assert_gone(alice, row, record)
        assert alice.trader.catalog.get(row.offer, Offer) is None
        assert alice.trader.offers.offer_of(record.id) is None
        assert await alice.erasure.newest(10) == [proof]


async def test_the_key_goes_at_once_while_the_wallet_is_locked(place: Place) -> None:
    async with place.alice() as alice, place.bob() as bob:
        row, record = await on_sale(place, alice, bob)
        alice.trader.account.locked = True
        proof = await alice.erasure.forget(id=record.id)
        assert proof.state == "here"
        assert "locked" in proof.waiting
        assert alice.erasure.waiting
        assert_gone(alice, row, record)
        assert await alice.trader.chain.registry.is_active(row.dataset)
        refused = await bob.desk.sample(row.offer, None)  # the withdrawal is not told yet, the key is gone all the same
        assert not refused.ok
        alice.trader.account.locked = False
        await alice.erasure.resume()
        (proof,) = await alice.erasure.newest(10)
        assert (proof.state, proof.waiting) == ("done", "")
        assert not alice.erasure.waiting
        await assert_revoked(place, alice, row, proof)


async def test_a_sale_that_waits_for_its_key_is_given_back(place: Place) -> None:
    async with place.alice() as alice, place.bob() as bob:
        row, record = await on_sale(place, alice, bob)
        before = await bob.chain.token.balance(bob.account.address)
        deal = await bob.desk.buy(row.offer, 1_000 * TOKENS)
        with trio.fail_after(30):
            while (await bob.deals.get(deal)).state != "locking":  # type: ignore[union-attr]
                await trio.sleep(0.002)
            place.hub.away.add(BOB)
            while not (await alice.trader.deals.newest(1)):
                await trio.sleep(0.01)
        assert await bob.chain.token.balance(bob.account.address) < before
        proof = await alice.erasure.forget(id=record.id)
        assert (proof.offers[0].sales, proof.offers[0].locked) == (0, 1)
        assert any("the price goes back" in said for said in proof.remains)
        place.hub.away.clear()
        (sale,) = await alice.trader.deals.newest(1)
        with pytest.raises(SellerSilent, match="erased; the price will be given back"):
            await ask_key(bob.wire, ALICE, row.offer, sale.sale)
        with trio.fail_after(30):
            while (row_now := await alice.trader.deals.get(sale.deal)) and row_now.state != "expired":
                await trio.sleep(0.02)
        assert row_now is not None
        assert row_now.reason == "the content key was erased"
        assert row_now.updated_at - sale.created_at < 60, "said at once, not at the deadline"
        place.pass_time(2 * 3_600)
        assert await bob.over(deal) == "refunded"
        assert await alice.trader.over(sale.deal) == "refunded"
        assert await bob.chain.token.balance(bob.account.address) == before
        assert_gone(alice, row, record)


# --- kill -9 ---


class Killed(Exception):
    """The machine stops here."""


@dataclass
class Saw:
    """Stands before a service and dies before, or just after, one of its methods; the disk is kept as it is then."""

    service: Any
    method: str
    after: bool
    save: Callable[[], Any]
    skip: int = 0

    def __getattr__(self, name: str) -> Any:
        if name != self.method:
            return getattr(self.service, name)

        async def cut(*args: Any, **named: Any) -> Any:
            if self.skip:
                self.skip -= 1
                return await getattr(self.service, name)(*args, **named)
            if self.after:
                await getattr(self.service, name)(*args, **named)
            await self.save()
            raise Killed

        return cut


CUTS = {
    "before anything": ("_store", "begin", False, 0),
    "the keys are destroyed": ("_store", "begin", True, 0),
    "the shard is clean": ("_shard", "forget", True, 0),
    "the ciphertext is gone": ("_blocks", "drop", True, 0),
    "the log is still full": ("_store", "scrub", False, 0),
    "the log is empty": ("_store", "scrub", True, 0),
    "nothing is left here": ("_store", "move", True, 0),
    "the withdrawal is told": ("_offers", "tell_withdrawn", True, 0),
    "before the revocation": ("_transactor", "once", False, 0),
    "the revocation is mined": ("_transactor", "once", True, 0),
    "the offer is closed": ("_transactor", "once", True, 1),
    "all but the last line": ("_store", "move", False, 2),
}


@pytest.mark.parametrize("cut", CUTS)
async def test_a_killed_erasure_goes_on_to_its_end(place: Place, cut: str) -> None:
    part, method, after, skip = CUTS[cut]
    async with place.alice() as alice:
        row, record = await on_sale(place, alice)
        await killed(alice.erasure, alice, part, Saw(None, method, after, _nothing, skip), record.id, place)
    async with place.alice("after") as alice:
        if cut == "before anything":
            assert_held(alice, row, record)
            await alice.erasure.forget(id=record.id)
        else:
            assert (await alice.trader.publications.all())[0].content_key is None
            assert_gone(alice, row, record)  # without the wallet, at the start
            await alice.erasure.resume()
        (proof,) = await alice.erasure.newest(10)
        assert (proof.state, proof.forgotten) == ("done", 1)
        assert_gone(alice, row, record)
        await assert_revoked(place, alice, row, proof)
        assert not await alice.blocks.has(proof.offers[0].cid)
        assert await alice.erasure.forget(id=record.id) == proof


async def killed(erasure: Erasure, alice: Eraser, part: str, saw: Saw, record: str, place: Place) -> None:
    """Forget until the saw cuts; what is on the disk at that instant stays in the folder `after`."""

    async def save() -> None:
        copy = place.folder / "after"
        await alice.trader.publications._journal.write(lambda _conn: shutil.copytree(alice.folder, copy))

    saw.service, saw.save = getattr(erasure, part), save
    setattr(erasure, part, saw)
    with pytest.raises(Killed):
        await erasure.forget(id=record)


async def _nothing() -> None:
    return None


# --- while it is being published ---


@dataclass
class Gate:
    """An outbox in which nothing is signed until the gate opens."""

    service: Any
    opened: trio.Event

    def __getattr__(self, name: str) -> Any:
        return getattr(self.service, name)

    async def once(self, *args: Any, **named: Any) -> Any:
        await self.opened.wait()
        return await self.service.once(*args, **named)


@pytest.mark.parametrize("step", ["nothing", "register", "offer"])
async def test_what_is_forgotten_while_it_is_published_ends_revoked(place: Place, step: str) -> None:
    async with place.alice() as alice:
        await fund(place, alice.trader)
        await alice.trader.own(TEXTS)
        record = (await alice.trader.shard.list(limit=1))[0]
        before = await alice.trader.chain.registry.count()
        gate = Gate(alice.trader.transactor, trio.Event())
        if step == "nothing":
            alice.trader.offers._transactor = gate  # type: ignore[assignment]
        place.anvil.call("evm_setAutomine", False)
        ended: list[BaseException] = []

        async def publish() -> None:
            try:
                await alice.trader.offers.publish("fashion", "Dresses, reviewed")
            except Exception as err:
                ended.append(err)

        async def open_the_gate() -> None:
            while (await alice.trader.publications.all())[0].content_key is not None:
                await trio.sleep(0.01)
            await trio.sleep(0.5)  # an erasure that does not wait would be over
            gate.opened.set()

        async def mine() -> None:
            while True:
                place.anvil.call("evm_mine")
                await trio.sleep(0.2)

        try:
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(publish)
                    while not await alice.trader.publications.all():
                        await trio.sleep(0.01)
                    if step == "offer":
                        while (await alice.trader.publications.all())[0].state != "registered":
                            place.anvil.call("evm_mine")
                            await trio.sleep(0.2)
                    (row,) = await alice.trader.publications.all()
                    nursery.start_soon(mine)
                    nursery.start_soon(open_the_gate)
                    proof = await alice.erasure.forget(id=record.id)
                    while not ended:
                        await trio.sleep(0.01)
                    nursery.cancel_scope.cancel()
        finally:
            place.anvil.call("evm_setAutomine", True)
        assert [type(err).__name__ for err in ended] in (["Erased"], ["Reverted"])
        assert proof.state == "done"
        assert_gone(alice, row, record)
        chain = alice.trader.chain
        made = range(before + 1, await chain.registry.count() + 1)
        assert [dataset for dataset in made if await chain.registry.is_active(dataset)] == []
        assert [offer.dataset for offer in proof.offers] == (list(made) or [0])
        number = proof.offers[0].offer_no
        if step != "register":  # a slow machine may be mining the offer already when the erasure begins
            assert bool(number) is (step == "offer"), "the step under way comes to its end, the next one does not begin"
        assert not number or not (await chain.sale.offer_terms(number)).is_open
        assert list(alice.trader.catalog.every(Offer)) == []


# --- from the file to the chain and back to nothing ---


async def test_the_file_collected_again_does_not_put_it_on_sale_again(place: Place) -> None:
    async with place.alice() as alice:
        await fund(place, alice.trader)
        path = place.folder / "reviews.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
        trader = alice.trader
        refiner = Refiner(trader.shard, trader.embedder)
        journal = trader.publications._journal
        collector = Collector(journal, trader.shard, refiner, EventBus(), lambda: 1_700_000_000, owner="0xA")
        await collector.add(str(path), domain="fashion", licence="cc0-1.0")
        await trader.offers.publish("fashion", "Dresses, reviewed")
        (row,) = await trader.publications.all()
        record = (await trader.shard.list(limit=1))[0]
        proof = await alice.erasure.forget(id=record.id)
        assert proof.state == "done"
        await collector.add(str(path), domain="fashion", licence="cc0-1.0")
        assert await trader.shard.get(record.id) is None
        assert_gone(alice, row, record)
        again = await trader.offers.publish("fashion", "What is left")
        assert record.id not in msgspec.json.decode(
            (await trader.publications.by_offer(again.item.id)).record_ids  # type: ignore[union-attr]
        )
