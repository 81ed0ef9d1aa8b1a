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
from typing import Any, ClassVar

import coincurve
import msgspec
import numpy as np

from contracts.bindings.bank import Item as BankItem
from contracts.bindings.models import Challenge, Model, Phase, Share, Terms
from contracts.bindings.registry import Dataset
from contracts.values import Call, Receipt
from node.feedback.standing import Standing
from node.journal import open_journal
from node.journal.catalog import CatalogStore
from node.journal.journal import Journal
from node.journal.model_accounts import ModelAccounts
from node.journal.model_calls import ModelCalls
from node.journal.models import Models as ModelStore
from node.market.catalog.catalog import Catalog
from node.market.kinds import Context
from node.models.artifacts import Artifacts
from node.models.calling import Calling
from node.models.challenges import Challenges
from node.models.directory import Directory
from node.models.earnings import Earnings
from node.models.facts import Facts
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
from protocols.inference.weights import WeightsTree, check, fact, verify
from protocols.voucher import Voucher, sign_voucher, verify_voucher, voucher_domain
from tests.support.accounts import HotWallet
from tests.support.embedder import HashEmbedder
from tests.support.items import CHAIN_ID, NETWORK, NOW
from tests.support.wire import Hub

REGISTRY = checksum(b"\xee" * 20)
BANK = checksum(b"\xbb" * 20)
DOMAIN = voucher_domain(CHAIN_ID, BANK)
COVER_WEI = 10**18
NOBODY = "0x" + "0" * 40
STAKE_WEI = 10**18
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
        self.exists = True

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
    """`ModelRegistry` and `DataRegistry`, what they would check, and the outbox that calls them once a key.

    Every dataset has 100 records of quality 0.8 and belongs to whom `owners` says.
    """

    def __init__(self) -> None:
        self.address = REGISTRY
        self.owners: dict[int, str] = {}
        self.sizes: dict[int, int] = {}  # records, where they are not 100
        self.published: dict[bytes, dict[str, Any]] = {}
        self.weights: dict[bytes, list[tuple[int, int]]] = {}
        self.received: dict[bytes, int] = {}
        self.paid: dict[tuple[bytes, str], int] = {}
        self.before: dict[str, int] = {}
        self.keys: list[str] = []
        self.active_at = 0
        self.ahead_s = 0  # of the nodes' clocks
        self.phases: dict[bytes, Phase] = {}
        self.doubts: dict[bytes, Challenge] = {}
        self.challengeable = False
        self.staked: dict[str, int] = {}
        self.fail_next = False

    async def dataset(self, dataset: int) -> Dataset:
        owner = self.owners.get(dataset, NOBODY)
        facts = (self.sizes.get(dataset, 100), 800_000)
        return Dataset(owner, 8, *facts, False, *[bytes(32)] * 4, int(owner != NOBODY), 0, 0, bytes(32))

    def publish(self, terms: Terms, datasets: Sequence[int], weights_ppm: Sequence[int], cid: bytes) -> Call:
        plain = {key: _plain(value) for key, value in msgspec.structs.asdict(terms).items()}
        return Call(self.address, msgspec.json.encode(["publish", plain, list(datasets), list(weights_ppm)]))

    def settle(self, model_id: bytes, items: Sequence[BankItem]) -> Call:
        return Call(self.address, msgspec.json.encode(["settle", model_id.hex(), sum(i.cumulative_wei for i in items)]))

    def claim_many(self, shares: Sequence[Share]) -> Call:
        return Call(
            self.address, msgspec.json.encode(["claim", [_plain(msgspec.structs.asdict(share)) for share in shares]])
        )

    def claim_publisher(self, model_id: bytes) -> Call:
        return Call(self.address, msgspec.json.encode(["publisher", model_id.hex()]))

    def claim_parent(self, model_id: bytes) -> Call:
        return Call(self.address, msgspec.json.encode(["parent", model_id.hex()]))

    def challenge(self, share: Share) -> Call:
        return Call(self.address, msgspec.json.encode(["challenge", _plain(msgspec.structs.asdict(share))]))

    def lapse(self, model_id: bytes) -> Call:
        return Call(self.address, msgspec.json.encode(["lapse", model_id.hex()]))

    def release(self, model_id: bytes) -> Call:
        return Call(self.address, msgspec.json.encode(["release", model_id.hex()]))

    def claimed_amount(self, receipt: Receipt) -> int:
        return receipt.gas_used

    async def arbiter(self) -> str:
        return REGISTRY if self.challengeable else NOBODY

    async def challenge_window(self) -> int:
        return 3_600 if self.challengeable else 0

    async def challenge_stake(self) -> int:
        return STAKE_WEI

    async def challenge_of(self, model_id: bytes) -> Challenge:
        return self.doubts.get(model_id, Challenge(NOBODY, 0))

    async def model(self, model_id: bytes) -> Model:
        told = self.published.get(model_id, {})
        return Model(
            publisher=str(told.get("publisher", NOBODY)),
            publisher_bps=int(told.get("publisher_bps", 0)),
            parent_bps=int(told.get("parent_bps", 0)),
            child_bps=int(told.get("child_bps", 0)),
            active_at=self.active_at,
            phase=self.phases.get(model_id, Phase.UNSTAKED),
            weights_root=WeightsTree(self.weights[model_id]).root if told else bytes(32),
            parent=bytes.fromhex(str(told.get("parent", "00" * 32))),
            price_per_unit_wei=int(told.get("price_per_unit_wei", 0)),
            received_wei=self.received.get(model_id, 0),
            paid_out_wei=0,
            publisher_paid_wei=self.paid.get((model_id, "publisher"), 0),
            parent_paid_wei=self.paid.get((model_id, "parent"), 0),
        )

    async def contributor_due(self, model_id: bytes, index: int, weight_ppm: int) -> int:
        due = self._after_parent(model_id) * 6 // 10 * weight_ppm // 1_000_000
        return due - self.paid.get((model_id, str(index)), 0)

    async def publisher_due(self, model_id: bytes) -> int:
        return self._after_parent(model_id) * 4 // 10 - self.paid.get((model_id, "publisher"), 0)

    async def parent_due(self, model_id: bytes) -> int:
        due = self.received.get(model_id, 0) - self._after_parent(model_id)
        return due - self.paid.get((model_id, "parent"), 0)

    async def claimed(self, model_id: bytes, index: int) -> int:
        return self.paid.get((model_id, str(index)), 0)

    def _after_parent(self, model_id: bytes) -> int:
        received = self.received.get(model_id, 0)
        return received - received * int(self.published[model_id]["parent_bps"]) // 10_000

    async def send(self, call: Call, sender: str) -> int:
        """Carry a call out; the amount it paid."""
        name, *rest = msgspec.json.decode(call.data)
        if name == "publish":
            return self._publish(sender, *rest)
        if name == "claim":
            return sum([await self._claim(share) for share in rest[0]])
        if name == "challenge":
            return self._challenge(rest[0], sender)
        model = bytes.fromhex(rest[0])
        if name in ("release", "lapse"):
            self.phases[model] = Phase.CLOSED
            return 0
        due = await (self.publisher_due(model) if name == "publisher" else self.parent_due(model))
        if name == "parent":
            parent = bytes.fromhex(self.published[model]["parent"])
            self.received[parent] = self.received.get(parent, 0) + due
        self.paid[model, name] = self.paid.get((model, name), 0) + due
        return due

    def _publish(self, sender: str, terms: dict[str, Any], datasets: list[int], weights_ppm: list[int]) -> int:
        model, pairs = bytes.fromhex(terms["model_id"]), list(zip(datasets, weights_ppm, strict=True))
        check(pairs, {one: fact(self.sizes.get(one, 100), 800_000) for one in datasets})
        self.published[model] = {**terms, "publisher": sender}
        self.weights[model] = pairs
        if self.challengeable and any(self.owners[one] != sender for one in datasets if one):
            assert self.staked.get(sender, 0) >= STAKE_WEI, "nothing is staked"
            self.phases[model] = Phase.STAKED
        return 0

    async def _claim(self, share: dict[str, Any]) -> int:
        model = self._leaf(share)
        due, key = await self.contributor_due(model, share["index"], share["weight_ppm"]), (model, str(share["index"]))
        self.paid[key] = self.paid.get(key, 0) + due
        return due

    def _challenge(self, share: dict[str, Any], sender: str) -> int:
        model = self._leaf(share)
        assert self.owners[share["dataset"]] == sender
        assert self.staked.get(sender, 0) >= STAKE_WEI, "nothing is staked"
        self.phases[model], self.doubts[model] = Phase.CHALLENGED, Challenge(sender, NOW + 7_200)
        return 0

    def _leaf(self, share: dict[str, Any]) -> bytes:
        model = bytes.fromhex(share["model_id"])
        proof = [bytes.fromhex(p) for p in share["proof"]]
        root = WeightsTree(self.weights[model]).root
        assert verify(root, share["index"], share["dataset"], share["weight_ppm"], proof)
        return model


class Teacher:
    """What ratings say, as a test wants it: stars by subject, lessons by dataset."""

    def __init__(self) -> None:
        self.standing: dict[str, Standing] = {}
        self.lessons: dict[int, float] = {}

    async def read(self) -> None: ...

    def of(self, subject: str) -> Standing:
        return self.standing.get(subject, Standing())

    def lesson(self, dataset: int) -> float:
        return self.lessons.get(dataset, 1.0)


class Safe:
    """The wallet's stake, in the chain of dicts."""

    def __init__(self, chain: Chain, account: Account) -> None:
        self._chain = chain
        self._account = account

    async def cover(self, need_wei: int) -> None:
        address = self._account.address
        self._chain.staked[address] = max(need_wei, self._chain.staked.get(address, 0))


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
        self.teacher = Teacher()
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
            events=self.events, lessons=self.teacher, held_out_ppm=250_000, threads=1, clock=clock,
        )  # fmt: skip
        facts, self.safe = Facts(chain), Safe(chain, account)
        self.publishing = Publishing(
            workshop=self.workshop, store=self.store, registry=chain, facts=facts, surety=self.safe, transactor=outbox,
            blocks=self.cellar,
            announcer=Crier(catalogs, account, peer), events=self.events, clock=clock,
            policy=PublishPolicy(NETWORK, CHAIN_ID, publisher_bps=4_000, default_price_wei=1_000),
        )  # fmt: skip
        self.serving = Serving(
            store=self.store, accounts=self.accounts, artifacts=self.artifacts, embedder=self.embedder, registry=chain,
            till=self.till, wallet=account, wire=self.wire, events=self.events, chain_id=CHAIN_ID, clock=clock,
        )  # fmt: skip
        directory = Directory(self.catalog, chain, facts, clock)
        self.calling = Calling(
            directory=directory, calls=self.calls, own=self.serving, purse=self.purse, bank=Ledger(chain),
            wallet=account, wire=self.wire, events=self.events, payee=REGISTRY, chain_id=CHAIN_ID, clock=clock,
            retry_after_s=0.01,
        )  # fmt: skip

        async def chain_time() -> int:
            return clock() + chain.ahead_s

        self.earnings = Earnings(
            store=self.store, directory=directory, registry=chain, facts=facts, settler=Bringer(self.till, chain),
            transactor=outbox, wallet=account, events=self.events, chain_time=chain_time,
        )  # fmt: skip
        self.challenges = Challenges(
            directory=directory, earnings=self.earnings, registry=chain, surety=self.safe, transactor=outbox,
            store=self.store, wallet=account, events=self.events, low_ppm=500_000, clock=clock,
        )  # fmt: skip
        self.models = Models(
            workshop=self.workshop, publishing=self.publishing, serving=self.serving, calling=self.calling,
            earnings=self.earnings, challenges=self.challenges, directory=directory, registry=chain, facts=facts,
            standings=self.teacher,
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
    both. The records of each owner but "" are a dataset: 6 + his place.
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
    number = {owner: 6 + place for place, owner in enumerate(owners) if owner}
    made = [
        _record(row, vector, embedder.model_id, number.get(row[3], 0))
        for row, vector in zip(rows, vectors, strict=True)
    ]
    _REVIEWS[count, tuple(owners), seed] = made
    return list(made)


def _record(row: tuple[str, str, str, str], vector: np.ndarray, model_id: str, dataset: int) -> ShardRecord:
    title, text, label, owner = row
    return ShardRecord(
        id=hashlib.sha256((title + text).encode()).hexdigest(), text=text, title=title, domain="fashion", language="en",
        labels={"class": label}, licence="CC0-1.0", consent="", origin="bought" if owner else "own", owner=owner,
        dataset=dataset, vector=vector, model_id=model_id,
    )  # fmt: skip


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
