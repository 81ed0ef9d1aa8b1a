"""Who could cheat whom with vouchers (DESIGN §5): forged, replayed, foreign and stale ones, and one deposit for two."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.support.adversary.scene import ALICE, BOB, CAROL
from tests.support.adversary.stage import DEPOSIT, UNIT, Stage, stage_of
from tests.support.adversary.table import Row, story
from tests.support.cluster import Cluster

pytestmark = [pytest.mark.chain, pytest.mark.e2e]


@pytest.fixture
def stage(cluster: Cluster) -> Stage:
    return stage_of(cluster)


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
# where the one in whose name it is has used the model before, the sum is too low by itself
BEHIND = {"in-the-name-of": "the lane stands at"}


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
        refusal = stage.call(mallory, model)
        assert FORGED[forgery] in refusal or BEHIND.get(forgery, FORGED[forgery]) in refusal
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
