"""Who could cheat whom where every use is paid (DESIGN §5): users who stop paying, providers who do not serve."""

from __future__ import annotations

import pytest

from tests.support.adversary.scene import ALICE, BOB, MALLORY
from tests.support.adversary.stage import DEPOSIT, UNIT, Stage, stage_of
from tests.support.adversary.table import Row, story
from tests.support.cluster import Cluster, wait_for

pytestmark = [pytest.mark.chain, pytest.mark.e2e]

PAST_THE_EXIT_S = 310  # config/networks/devnet.toml: a deposit leaves after 300 s of chain time


@pytest.fixture
def stage(cluster: Cluster) -> Stage:
    return stage_of(cluster)


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


@story(Row.UNPAID)
def test_a_user_who_takes_his_deposit_away_is_settled_before_he_is_gone(stage: Stage) -> None:
    """No software has to be changed for it, and nobody has to tell the provider: she reads of it on the chain."""
    scene, model = stage.scene, stage.models[ALICE]
    leaver = stage.arrives("", model)
    before = scene.purse(leaver)
    assert [stage.call(leaver, model) for _ in range(3)] == ["", "", ""]
    scene.client(leaver).call("wallet.withdraw")
    wait_for(lambda: stage.paid(leaver, model) == 3 * UNIT, "Alice to settle")
    scene.cluster.leap(PAST_THE_EXIT_S)
    scene.client(leaver).call("wallet.withdraw")
    after = scene.purse(leaver)
    assert stage.lost(leaver, model, answers=3) == 0
    assert after.deposit_wei == 0
    assert after.token_wei - before.token_wei == DEPOSIT - 3 * UNIT
    scene.assert_balanced()


# --- a provider takes the voucher and does not serve ---

NOT_SERVED = {
    "takes-and-hangs-up": "was not answered",
    "takes-and-answers-noise": "was not answered",
    "takes-and-answers-zeros": "does not say what was asked, answered and paid",
    "takes-and-gives-no-receipt": "does not say what was asked, answered and paid",
    "takes-and-wants-more": "pay for this one",
    "takes-and-shows-the-voucher": "pay for this one",
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
    whys = [stage.call(BOB, model) for _ in range(3)]  # however often he tries again
    assert NOT_SERVED[behaviour] in whys[0]
    assert "" not in whys
    assert stage.settle(model) == UNIT
    assert before.deposit_wei - scene.purse(BOB).deposit_wei == UNIT  # all that is lost
    assert before.token_wei == scene.purse(BOB).token_wei
    scene.assert_balanced()


@story(Row.UNSERVED)
@pytest.mark.slow  # three attempts of 35 s
def test_a_provider_who_takes_and_is_silent_gets_one_unit(stage: Stage) -> None:
    stage.scene.adversary("takes-and-is-silent")
    model = stage.serve(MALLORY)
    stage.knows(BOB, model)
    stage.deposit(BOB, DEPOSIT)
    assert "was not answered" in stage.call(BOB, model)
    assert stage.settle(model) == UNIT
    stage.scene.assert_balanced()


PREVIEWS = 3  # that a search buys: one purchase, the unit here
SEARCHES = 4


@story(Row.UNSERVED)
@pytest.mark.parametrize("behaviour", ["shows-nothing", "shows-too-few", "showed-before", "showed-before-for-this"])
def test_an_owner_who_takes_money_for_previews_and_shows_none_gets_one_purchase(stage: Stage, behaviour: str) -> None:
    scene, price = stage.scene, UNIT // 10
    mallory = scene.stranger(f"{behaviour}:{price}")
    lot = scene.sell(mallory, behaviour, BOB)
    stage.deposit(BOB, UNIT)
    before = scene.purse(BOB)
    for _ in range(SEARCHES):
        found = stage.search(BOB, "the sleeves are soft", budget_wei=PREVIEWS * price)
        mine = [hit for hit in found["items"] if hit["offer"] == lot.offer]
        assert mine
        assert {hit["text"] for hit in mine} == {""}
        assert found["paid"] == "0"
    scene.client(mallory).call("wallet.settle")
    assert before.deposit_wei - scene.purse(BOB).deposit_wei <= PREVIEWS * price
    scene.departs(mallory)
    scene.assert_balanced()
