"""A models' room without a node around it: real training, files, journal and messages; a wire without sockets, a
chain of dicts.

The till and the purse check and sign real vouchers, and keep them in memory.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import coincurve
import msgspec
import numpy as np

from contracts.bindings.bank import Item as BankItem
from contracts.bindings.models import Model, Share
from contracts.values import Call, Receipt
from node.journal import open_journal
from node.journal.catalog import CatalogStore
from node.journal.journal import Journal
from node.journal.model_accounts import ModelAccounts
from node.journal.model_calls import ModelCalls
from node.journal.models import Models as ModelStore
from node.market.catalog import Catalog
from node.market.kinds import Context
from node.models.artifacts import Artifacts
from node.models.calling import Calling
from node.models.directory import Directory
from node.models.earnings import Earnings
from node.models.publishing import Publishing, PublishPolicy
from node.models.service import Models
from node.models.serving import Serving
from node.models.workshop import Workshop
from node.observe.events import EventBus
from node.shard.filter import Filter
from node.shard.record import ShardRecord
from node.wallet.errors import NoCover, VoucherRefused, WalletLocked
from node.wallet.settle import Settlement
from protocols import eip712
from protocols.envelope import Item, sign_item
from protocols.ids import Address, Cid, PeerId, checksum
from protocols.inference.weights import verify
from protocols.voucher import Voucher, sign_voucher, verify_voucher, voucher_domain
from tests.support.accounts import HotWallet
from tests.support.embedder import HashEmbedder
from tests.support.items import CHAIN_ID, NETWORK, NOW
from tests.support.wire import Hub

REGISTRY = checksum(b"\xee" * 20)
BANK = checksum(b"\xbb" * 20)
DOMAIN = voucher_domain(CHAIN_ID, BANK)
COVER_WEI = 10**18
STOCK = ("the", "and", "this", "very", "it", "was", "so", "really", "i", "my", "for", "with", "love", "nice")


class Embedder(HashEmbedder):
    """Remembers what it embedded: most tests embed the same reviews."""

    known: ClassVar[dict[str, np.ndarray]] = {}

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        self.known.update(zip(new, await super().embed(new), strict=True))
        self.embedded += len(texts) - len(new)
        return np.stack([self.known[text] for text in texts])


class Account:
    """A wallet that can be locked."""

    def __init__(self, number: int) -> None:
        self.key = coincurve.PrivateKey(number.to_bytes(32, "big"))
        self.locked = False

    @property
    def address(self) -> Address:
        return eip712.address_of(self.key.public_key)

    def sign(self, digest: bytes) -> bytes:
        if self.locked:
            raise WalletLocked
        return eip712.sign(self.key, digest)


class Shelf:
    """Records in memory, as the shard gives them."""

    def __init__(self, records: Sequence[ShardRecord]) -> None:
        self.records = {record.id: record for record in records}

    async def walk(self, where: Filter) -> AsyncIterator[list[ShardRecord]]:
        fits = [
            r for r in self.records.values() if where.domain in (None, r.domain) and where.origin in (None, r.origin)
        ]
        for start in range(0, len(fits), 100):
            yield fits[start : start + 100]

    async def fetch(self, ids: Sequence[str]) -> list[ShardRecord]:
        return [self.records[id] for id in ids if id in self.records]


class Chain:
    """`ModelRegistry`, what it would check, and the outbox that calls it once a key."""

    def __init__(self) -> None:
        self.address = REGISTRY
        self.published: dict[bytes, dict[str, object]] = {}
        self.received: dict[bytes, int] = {}
        self.paid: dict[tuple[bytes, str], int] = {}
        self.before: dict[str, int] = {}
        self.keys: list[str] = []
        self.active_at = 0
        self.fail_next = False

    def publish(self, **given: object) -> Call:
        return Call(self.address, msgspec.json.encode(["publish", {k: _plain(v) for k, v in given.items()}]))

    def settle(self, model_id: bytes, items: Sequence[BankItem]) -> Call:
        return Call(self.address, msgspec.json.encode(["settle", model_id.hex(), sum(i.cumulative_wei for i in items)]))

    def claim(self, share: Share) -> Call:
        return Call(self.address, msgspec.json.encode(["claim", _plain(msgspec.structs.asdict(share))]))

    def claim_publisher(self, model_id: bytes) -> Call:
        return Call(self.address, msgspec.json.encode(["publisher", model_id.hex()]))

    def claimed_amount(self, receipt: Receipt) -> int:
        return receipt.gas_used

    async def model(self, model_id: bytes) -> Model:
        told = self.published.get(model_id, {})
        return Model(
            publisher=str(told.get("publisher", "0x" + "0" * 40)),
            publisher_bps=int(str(told.get("publisher_bps", 0))),
            active_at=self.active_at,
            weights_root=bytes.fromhex(str(told.get("weights_root", "00" * 32))),
            total_weight=1_000_000,
            price_per_unit_wei=int(str(told.get("price_per_unit_wei", 0))),
            received_wei=self.received.get(model_id, 0),
            paid_out_wei=0,
            publisher_paid_wei=self.paid.get((model_id, "publisher"), 0),
        )

    async def contributor_due(self, model_id: bytes, index: int, weight: int) -> int:
        due = self.received.get(model_id, 0) * 6 // 10 * weight // 1_000_000
        return due - self.paid.get((model_id, str(index)), 0)

    async def publisher_due(self, model_id: bytes) -> int:
        return self.received.get(model_id, 0) * 4 // 10 - self.paid.get((model_id, "publisher"), 0)

    async def claimed(self, model_id: bytes, index: int) -> int:
        return self.paid.get((model_id, str(index)), 0)

    async def send(self, call: Call, sender: str) -> int:
        """Carry a call out; the amount it paid."""
        name, *rest = msgspec.json.decode(call.data)
        if name == "publish":
            self.published[bytes.fromhex(rest[0]["model_id"])] = {**rest[0], "publisher": sender}
            return 0
        if name == "claim":
            share = rest[0]
            model = bytes.fromhex(share["model_id"])
            root = bytes.fromhex(str(self.published[model]["weights_root"]))
            proof = [bytes.fromhex(p) for p in share["proof"]]
            assert verify(root, share["index"], share["to"], share["weight"], proof)
            due, key = await self.contributor_due(model, share["index"], share["weight"]), (model, str(share["index"]))
        else:
            model = bytes.fromhex(rest[0])
            due, key = await self.publisher_due(model), (model, "publisher")
        self.paid[key] = self.paid.get(key, 0) + due
        return due


class Ledger:
    """`VoucherBank`: what was settled for a payer before this journal began."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    async def paid(self, payer: str, payee: str, lane: int) -> int:
        return self._chain.before.get(payer, 0)


class Outbox:
    """Each key once, as the wallet's transactor promises."""

    def __init__(self, chain: Chain, account: Account) -> None:
        self._chain = chain
        self._account = account
        self._done: dict[str, Receipt] = {}

    def require_unlocked(self) -> None:
        if self._account.locked:
            raise WalletLocked

    async def once(self, key: str, call: Call) -> Receipt:
        self.require_unlocked()
        if self._chain.fail_next:
            self._chain.fail_next = False
            raise ConnectionError("killed here")
        if key not in self._done:
            self._chain.keys.append(key)
            amount = await self._chain.send(call, self._account.address)
            self._done[key] = Receipt(f"0x{len(self._done):064x}", 1, "", True, amount, 1, ())
        return self._done[key]


class Cellar:
    """Blocks in memory."""

    def __init__(self) -> None:
        self.blocks: dict[Cid, bytes] = {}

    async def add(self, data: bytes) -> Cid:
        cid = Cid("b" + hashlib.sha256(data).hexdigest()[:58].translate(str.maketrans("0189", "wxyz")))
        self.blocks[cid] = data
        return cid


class Crier:
    """Signs an item and hands it to everybody's catalogue at once."""

    def __init__(
        self, catalogs: list[Catalog], account: Account | HotWallet, peer: PeerId, chain_id: int = CHAIN_ID
    ) -> None:
        self._catalogs = catalogs
        self._chain_id = chain_id
        self._account = account
        self._peer = peer

    async def announce(self, kind: str, body: bytes, domain: str) -> Item:
        account = self._account
        item = sign_item(
            kind, body, peer=self._peer, signer=account.address, chain_id=self._chain_id, sign=account.sign
        )
        for catalog in self._catalogs:
            await catalog.admit(item.raw, self._peer)
        return item


class Till:
    """Accepts real vouchers up to COVER_WEI a lane."""

    def __init__(self) -> None:
        self.newest: dict[tuple[str, int], Voucher] = {}

    async def accept(self, voucher: Voucher, *, payee: Address, lane: int) -> int:
        if (voucher.payee, voucher.lane) != (payee, lane):
            raise VoucherRefused("the voucher is for another payee or lane")
        if verify_voucher(voucher, DOMAIN) != voucher.payer:
            raise VoucherRefused("the voucher is not signed by its payer")
        if voucher.cumulative > COVER_WEI:
            raise NoCover("the deposit does not cover this voucher")
        known = self.newest.get((voucher.payer, lane))
        if known is None or voucher.cumulative > known.cumulative:
            self.newest[voucher.payer, lane] = known = voucher
        return known.cumulative


class Purse:
    """Signs vouchers, never below what was signed before."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.sums: dict[int, int] = {}

    async def promised(self, payee: Address, lane: int) -> int:
        return self.sums.get(lane, 0)

    async def promise(self, payee: Address, lane: int, cumulative_wei: int) -> Voucher:
        if self._account.locked:
            raise WalletLocked
        total = self.sums[lane] = max(self.sums.get(lane, 0), cumulative_wei)
        return sign_voucher(self._account.key, DOMAIN, self._account.address, payee, lane, total)

    async def adopt(self, voucher: Voucher, served_wei: int) -> int:
        total = self.sums[voucher.lane] = max(self.sums.get(voucher.lane, 0), voucher.cumulative)
        return total


class Bringer:
    """Brings the till's vouchers to the chain of dicts."""

    def __init__(self, till: Till, chain: Chain) -> None:
        self._till = till
        self._chain = chain
        self._settled: dict[tuple[str, int], int] = {}

    async def settle(self, payee: Address, lane: int) -> list[Settlement]:
        open_ = {k: v.cumulative - self._settled.get(k, 0) for k, v in self._till.newest.items() if k[1] == lane}
        amount = sum(open_.values())
        if not amount:
            raise VoucherRefused("there is nothing to settle")
        self._settled |= {k: self._till.newest[k].cumulative for k in open_}
        model = next(id for id in self._chain.published if id.endswith(lane.to_bytes(8, "big")))
        self._chain.received[model] = self._chain.received.get(model, 0) + amount
        return [Settlement(payee, str(lane), sum(1 for due in open_.values() if due), str(amount), "0x01", 1)]


class Room:
    """One node's models."""

    def __init__(
        self, hub: Hub, peer: PeerId, account: Account, journal: Journal, folder: Path, chain: Chain, catalogs:
        list[Catalog], records: Sequence[ShardRecord],
    ) -> None:  # fmt: skip
        self.now = NOW
        self.account = account
        self.chain = chain
        self.embedder = Embedder()
        self.shelf = Shelf(records)
        self.till = Till()
        self.purse = Purse(account)
        self.wire = hub.wire(peer)
        self.events = EventBus()
        self.calls = ModelCalls(journal)
        self.accounts = ModelAccounts(journal)
        self.store = ModelStore(journal)
        self.artifacts = Artifacts(folder)
        self.cellar = Cellar()
        self.catalog = Catalog(CatalogStore(journal), Context(NETWORK, CHAIN_ID), lambda: self.now)
        catalogs.append(self.catalog)
        outbox = Outbox(chain, account)
        clock = lambda: self.now  # noqa: E731
        self.workshop = Workshop(
            shard=self.shelf, embedder=self.embedder, store=self.store, artifacts=self.artifacts, wallet=account,
            events=self.events, held_out_ppm=250_000, threads=1, clock=clock,
        )  # fmt: skip
        self.publishing = Publishing(
            workshop=self.workshop, store=self.store, registry=chain, transactor=outbox, blocks=self.cellar,
            announcer=Crier(catalogs, account, peer), events=self.events, clock=clock,
            policy=PublishPolicy(NETWORK, CHAIN_ID, publisher_bps=4_000, default_price_wei=1_000),
        )  # fmt: skip
        self.serving = Serving(
            store=self.store, accounts=self.accounts, artifacts=self.artifacts, embedder=self.embedder, registry=chain,
            till=self.till, wallet=account, wire=self.wire, events=self.events, chain_id=CHAIN_ID, clock=clock,
        )  # fmt: skip
        directory = Directory(self.catalog, chain, clock)
        self.calling = Calling(
            directory=directory, calls=self.calls, own=self.serving, purse=self.purse, bank=Ledger(chain),
            wallet=account, wire=self.wire, events=self.events, payee=REGISTRY, chain_id=CHAIN_ID, clock=clock,
            retry_after_s=0.01,
        )  # fmt: skip
        self.earnings = Earnings(
            store=self.store, directory=directory, registry=chain, settler=Bringer(self.till, chain),
            transactor=outbox, wallet=account, events=self.events, clock=clock,
        )  # fmt: skip
        self.models = Models(
            workshop=self.workshop, publishing=self.publishing, serving=self.serving, calling=self.calling,
            earnings=self.earnings, directory=directory,
        )  # fmt: skip


@asynccontextmanager
async def open_room(
    hub: Hub, peer: PeerId, number: int, folder: Path, chain: Chain, catalogs: list[Catalog],
    records: Sequence[ShardRecord] = (),
) -> AsyncIterator[Room]:  # fmt: skip
    """A room over its own journal; `number` makes the wallet."""
    folder.mkdir(parents=True, exist_ok=True)
    async with open_journal(folder / "journal.db") as journal:
        yield Room(hub, peer, Account(number), journal, folder / "models", chain, catalogs, records)


def silent(**_: object) -> None:
    """Nobody watches the progress."""


_REVIEWS: dict[tuple[int, tuple[str, ...], int], list[ShardRecord]] = {}


async def reviews(count: int, owners: Sequence[str] = ("",), *, seed: int = 3) -> list[ShardRecord]:
    """Made-up reviews: a title of rare words, a text that repeats some of them among stock words; the vector is of
    both.
    """
    known = _REVIEWS.get((count, tuple(owners), seed))
    if known is not None:
        return list(known)
    rng = random.Random(seed)
    embedder = Embedder()
    rows = []
    for number in range(count):
        rare = [f"w{rng.randrange(4_000)}" for _ in range(4)]
        label = rng.choice(("coat", "dress", "jeans"))
        title = " ".join([rng.choice(STOCK), *rare[:3], rng.choice(STOCK)])
        text = " ".join(rng.choices(STOCK, k=12) + rare[1:] + rng.choices(STOCK, k=12) + [label] * 2)
        rows.append((title, text, label, owners[number % len(owners)]))
    vectors = await embedder.embed([f"{title}\n{text}" for title, text, *_ in rows])
    made = [_record(row, vector, embedder.model_id) for row, vector in zip(rows, vectors, strict=True)]
    _REVIEWS[count, tuple(owners), seed] = made
    return list(made)


def _record(row: tuple[str, str, str, str], vector: np.ndarray, model_id: str) -> ShardRecord:
    title, text, label, owner = row
    return ShardRecord(
        id=hashlib.sha256((title + text).encode()).hexdigest(), text=text, title=title, domain="fashion", language="en",
        labels={"class": label}, licence="CC0-1.0", consent="", origin="bought" if owner else "own", owner=owner,
        dataset=7 if owner else 0, vector=vector, model_id=model_id,
    )  # fmt: skip


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
