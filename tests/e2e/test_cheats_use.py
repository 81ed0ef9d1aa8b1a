"""Who could cheat whom where every use is paid (DESIGN §5): users and providers of models whose nodes were rewritten.

One unit is one input of a model. What a provider lost is what he served less what the chain paid him; what a user
lost is what the chain took from his deposit less what he was answered.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from eth_abi.abi import decode
from eth_utils.address import to_checksum_address

from protocols.voucher import Voucher
from tests.support.adversary.scene import ALICE, BOB, CAROL, MALLORY, Scene
from tests.support.adversary.table import Row, story
from tests.support.client import CallFailed
from tests.support.cluster import TOKEN, Cluster, wait_for

pytestmark = [pytest.mark.chain, pytest.mark.e2e]

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


@pytest.fixture(scope="module")
def stage(cluster: Cluster) -> Stage:
    return Stage(Scene(cluster, "cheats-use"))


# --- an API user does not pay ---


@story(Row.UNPAID)
def test_a_user_who_stops_paying_is_not_served_again(stage: Stage) -> None:
    model = stage.models[ALICE]
    mallory = stage.arrives("stops-paying:2", model)
    assert [stage.call(mallory, model) for _ in range(2)] == ["", ""]
    for _ in range(3):
        assert "the voucher does not cover this request" in stage.call(mallory, model)
    assert stage.settle(model) == 2 * UNIT  # what she served
    stage.scene.assert_balanced()


@story(Row.UNPAID)
def test_a_known_user_with_an_empty_deposit_is_served_one_unit_beyond(stage: Stage) -> None:
    model = stage.models[ALICE]
    mallory = stage.arrives("signs-beyond", model, deposit_wei=2 * UNIT)
    served = [stage.call(mallory, model) for _ in range(2)]
    before = stage.settle(model)  # from now on he is somebody who has paid before, and nothing is left of his deposit
    refusals = [stage.call(mallory, model) for _ in range(3)]
    beyond = refusals.count("")
    assert served == ["", ""]
    assert before == 2 * UNIT
    assert beyond <= 1
    assert all("would owe" in why for why in refusals[beyond:])
    assert stage.settle(model) == 0  # nothing stands behind the rest
    assert stage.lost(mallory, model, answers=2 + beyond) <= UNIT
    stage.scene.assert_balanced()


# --- a provider takes the voucher and does not serve ---

NOT_SERVED = {
    "takes-and-hangs-up": "was not answered",
    "takes-and-answers-noise": "was not answered",
    "takes-and-answers-zeros": "does not say what was asked, answered and paid",
    "takes-and-gives-no-receipt": "does not say what was asked, answered and paid",
    "takes-and-wants-more": "pay for this one",
}


@story(Row.UNSERVED)
@pytest.mark.parametrize("behaviour", NOT_SERVED)
def test_a_provider_who_takes_and_does_not_serve_gets_one_unit(stage: Stage, behaviour: str) -> None:
    scene = stage.scene
    scene.adversary(behaviour)
    model = stage.serve(MALLORY)
    stage.knows(BOB, model)
    stage.deposit(BOB, DEPOSIT)
    before = scene.purse(BOB)
    whys = [stage.call(BOB, model) for _ in range(4)]  # however often he tries again
    assert NOT_SERVED[behaviour] in whys[0]
    assert "" not in whys
    assert stage.settle(model) == UNIT
    assert before.deposit_wei - scene.purse(BOB).deposit_wei == UNIT  # all that is lost
    assert before.token_wei == scene.purse(BOB).token_wei
    scene.assert_balanced()


# --- vouchers that should not be taken ---

FORGED = {
    "unsigned": "signature",
    "by-nobody": "may not sign for",
    "raised": "may not sign for",
    "of-another-chain": "may not sign for",
    "to-myself": "the voucher pays",
    "of-another-lane": "the voucher pays",
    "in-the-name-of": "may not sign for",
}


@story(Row.FORGED)
@pytest.mark.parametrize("forgery", FORGED)
def test_a_voucher_that_is_not_what_it_says_buys_nothing(stage: Stage, forgery: str) -> None:
    scene, model = stage.scene, stage.models[ALICE]
    stage.knows(BOB, model)
    stage.deposit(BOB, UNIT)  # somebody who has a deposit, in whose name one could pay
    bob, held = scene.purse(BOB), stage.held(model)
    argument = f":{scene.address(BOB)}" if forgery == "in-the-name-of" else ""
    mallory = stage.arrives(forgery + argument, model)
    purse = scene.purse(mallory)
    for _ in range(2):
        assert FORGED[forgery] in stage.call(mallory, model)
    assert stage.held(model) == held  # nothing was taken,
    assert stage.settle(model) == 0  # so there is nothing to bring,
    assert (scene.purse(BOB), scene.purse(mallory)) == (bob, purse)  # and nobody has paid
    scene.assert_balanced()


@story(Row.FORGED)
def test_a_voucher_that_is_older_than_the_newest_buys_nothing(stage: Stage) -> None:
    model = stage.models[ALICE]
    mallory = stage.arrives("stale:2", model)
    assert [stage.call(mallory, model) for _ in range(2)] == ["", ""]
    for _ in range(2):
        assert "payment_required" in stage.call(mallory, model)
    assert stage.settle(model) == 2 * UNIT
    assert stage.lost(mallory, model, answers=2) == 0
    stage.scene.assert_balanced()


@story(Row.FORGED)
def test_a_voucher_read_from_the_chain_buys_nothing_again(stage: Stage, tmp_path: Path) -> None:
    """What a provider settles can be read by all. It is genuine, and has been used."""
    scene, model = stage.scene, stage.models[ALICE]
    stage.knows(BOB, model)
    stage.deposit(BOB, DEPOSIT)
    assert [stage.call(BOB, model) for _ in range(2)] == ["", ""]
    assert stage.settle(model) == 2 * UNIT
    found = tmp_path / "voucher.json"
    found.write_bytes(msgspec.json.encode(stage.published(model)))
    before = scene.purse(BOB)
    mallory = stage.arrives(f"replayed:{found}", model)
    for _ in range(2):
        assert "the voucher does not cover this request" in stage.call(mallory, model)
    assert stage.settle(model) == 0
    assert scene.purse(BOB) == before
    assert stage.call(BOB, model) == ""  # and its owner goes on as if nothing had been
    assert stage.settle(model) == UNIT
    scene.assert_balanced()


# --- one deposit for two ---


@story(Row.SOFT_COVER)
def test_a_deposit_promised_to_two_costs_each_what_he_served_and_did_not_settle(stage: Stage) -> None:
    alice, carol = stage.models[ALICE], stage.models[CAROL]
    mallory = stage.arrives("signs-beyond", alice, carol, deposit_wei=3 * UNIT)
    for model in (alice, carol):
        assert [stage.call(mallory, model) for _ in range(3)] == ["", "", ""]
        assert "would owe" in stage.call(mallory, model)  # neither goes beyond what stands on chain
    assert stage.settle(alice) == 3 * UNIT
    assert stage.settle(carol) == 0  # the other has it already
    assert stage.lost(mallory, alice, answers=3) == 0
    assert stage.lost(mallory, carol, answers=3) == 3 * UNIT  # the deposit, as it stood when she served
    assert "would owe" in stage.call(mallory, carol)
    stage.deposit(mallory, 3 * UNIT)
    assert stage.settle(carol) == 3 * UNIT  # the debt is not forgotten: his next deposit is hers
    stage.scene.assert_balanced()


@story(Row.SOFT_COVER)
def test_a_deposit_that_is_reserved_for_one_serves_no_other(stage: Stage) -> None:
    alice, carol = stage.models[ALICE], stage.models[CAROL]
    mallory = stage.arrives("signs-beyond", alice, carol, deposit_wei=3 * UNIT)
    stage.reserve(mallory, carol, 3 * UNIT)
    assert "would owe" in stage.call(mallory, alice)
    assert [stage.call(mallory, carol) for _ in range(3)] == ["", "", ""]
    assert "would owe" in stage.call(mallory, alice)
    assert stage.settle(alice) == 0
    assert stage.settle(carol) == 3 * UNIT
    assert stage.lost(mallory, carol, answers=3) == 0
    stage.scene.assert_balanced()
