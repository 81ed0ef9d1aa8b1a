"""Where use is paid: Alice and Carol serve a model each, by the unit; who uses them pays by voucher.

One unit is one input of a model. What a provider lost is what he served less what the chain paid him.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from eth_abi.abi import decode
from eth_utils.address import to_checksum_address

from protocols.voucher import Voucher
from tests.support.adversary.scene import ALICE, BOB, CAROL, Scene
from tests.support.client import CallFailed
from tests.support.cluster import TOKEN, Cluster, wait_for

UNIT = TOKEN // 100  # wallet.credit_wei, too: what a provider grants a user whom he knows
DEPOSIT = 30 * UNIT
DAY_S = 86_400
CLASSES = ("short", "long")
RECORDS = 125  # of a class: a fifth is held out, and thirty of those must be
SETTLED = ("bytes32", "(address,uint64,uint96,bytes32,bytes32)[]")  # ModelRegistry.settle


@dataclass(frozen=True)
class Model:
    """A model that somebody serves for UNIT an input."""

    id: str
    provider: str

    @property
    def lane(self) -> int:
        return int(self.id[-16:], 16)


class Stage:
    """Alice and Carol serve a model each, Bob and Mallory use them."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.settled = ""  # the newest settlement's transaction
        for name in (ALICE, BOB, CAROL):
            scene.honest(name)
        self._served: Counter[str] = Counter()
        self.models = {name: self.serve(name) for name in (ALICE, CAROL)}

    def serve(self, provider: str) -> Model:
        """Train a model on labelled reviews and publish it; with some more reviews it is another model."""
        self._served[provider] += 1
        for label in CLASSES:
            self.scene.put(provider, label, RECORDS if self._served[provider] == 1 else 4)
        client, domain = self.scene.client(provider), self.scene.domain
        job = client.call("models.train", domain=domain, task="classification", filter={"label": "lot"})
        model = client.finish(job)["model"]
        client.call("models.publish", model=model, price=str(UNIT), force=True)
        return Model(model, provider)

    def call(self, name: str, model: Model) -> str:
        """One unit: why it was not answered, or nothing when it was."""
        try:
            self.scene.client(name).call("models.call", model=model.id, input="the sleeves are soft")
        except CallFailed as err:
            if err.kind == "internal":
                raise AssertionError(self.scene.cluster.words(name)) from err
            return f"{err.kind}: {err}"
        return ""

    def search(self, name: str, query: str, *, budget_wei: int) -> dict[str, Any]:
        """What somebody finds who pays for previews within a budget."""
        budget = str(budget_wei)
        return dict(self.scene.client(name).call("search.run", query=query, domain=self.scene.domain, budget=budget))

    def knows(self, name: str, model: Model) -> None:
        """Wait until somebody has read a model's card."""
        client = self.scene.client(name)
        wait_for(lambda: model.id in {m["model"] for m in client.call("models.list")["items"]}, f"a card at {name}")

    def deposit(self, name: str, amount_wei: int) -> None:
        """Make somebody's deposit exactly this much more."""
        self.scene.client(name).call("wallet.deposit", amount=str(amount_wei))

    def arrives(self, behaviour: str, *models: Model, deposit_wei: int = DEPOSIT) -> str:
        """Mallory as somebody nobody knows: a new wallet, a deposit, other software. His name of today."""
        guest = self.scene.stranger(behaviour)
        for model in models:
            self.knows(guest, model)
        self.deposit(guest, deposit_wei)
        return guest

    def reserve(self, name: str, model: Model, amount_wei: int) -> None:
        """Have somebody set a part of his deposit aside for one model."""
        block = self.scene.cluster.chain("eth_getBlockByNumber", "latest", False)
        until = datetime.fromtimestamp(int(block["timestamp"], 16) + DAY_S, UTC).isoformat()
        where = {"payee": self.registry, "lane": str(model.lane)}
        self.scene.client(name).call("wallet.reserve", **where, amount=str(amount_wei), until=until)

    @property
    def registry(self) -> str:
        """Whom all vouchers for models pay."""
        return str(self.scene.cluster.devnet.facts()["contracts"]["models"])

    def settle(self, model: Model) -> int:
        """Have a provider bring what he holds of a model; what the chain paid."""
        try:
            batches = self.scene.client(model.provider).call("models.settle", model=model.id)["items"]
        except CallFailed as err:
            if err.kind != "voucher_refused":  # there is nothing to settle
                raise
            return 0
        self.settled = batches[0]["hash"] if batches else ""
        return sum(int(batch["paid_wei"]) for batch in batches)

    def published(self, model: Model) -> Voucher:
        """The voucher in the newest settlement, as anybody reads it from the chain."""
        data = bytes.fromhex(self.scene.cluster.chain("eth_getTransactionByHash", self.settled)["input"][2:])
        _, ((payer, lane, cumulative, r, vs),) = decode(SETTLED, data[4:])
        return Voucher(to_checksum_address(payer), self.registry, lane, str(cumulative), r + vs)

    def lost(self, payer: str, model: Model, *, answers: int) -> int:
        """What a provider served and was not paid for."""
        return answers * UNIT - self.paid(payer, model)

    def paid(self, payer: str, model: Model) -> int:
        """What the chain says a payer ever paid for a model."""
        paid, *_ = self.scene.cluster.view("bank", "lanes", self.scene.address(payer), self.registry, model.lane)
        return int(paid)

    def held(self, model: Model) -> dict[str, int]:
        """The newest vouchers that a provider holds for a model, by payer."""
        rows = self.scene.client(model.provider).call("wallet.lanes")["items"]
        return {row["payer"]: int(row["cumulative"]) for row in rows if row["side"] == "take"}


@cache
def stage_of(cluster: Cluster) -> Stage:
    """One for all modules: training takes seconds."""
    return Stage(Scene(cluster, "cheats-use"))
