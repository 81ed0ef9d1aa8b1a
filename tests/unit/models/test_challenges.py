"""The contributor's watch over published weights, without a chain: warnings, challenges, stakes that come home."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from contracts.bindings.models import Challenge, Phase
from node.models.errors import BadCall, NotYours, TooLate, UnknownModel
from protocols.inference.weights import by_facts
from tests.support.items import NOW
from tests.support.models import NOBODY, STAKE_WEI, Chain, Room, silent
from tests.unit.models.conftest import registered

HOUR = 3_600


@pytest.fixture
def chain() -> Chain:
    """Weights can be doubted for an hour."""
    made = registered()
    made.challengeable = True
    made.active_at = NOW + HOUR
    return made


async def published(builder: Room, **options: object) -> str:
    model = str((await builder.models.train("fashion", "retrieval", progress=silent))["model"])
    await builder.models.publish(model, 5_000, **options)
    return model


async def told(room: Room, state: str) -> list[Mapping[str, object]]:
    with room.events.subscribe(["models"], since=0) as events:
        pass  # closed: what was told before is all there is
    return [event.data async for event in events if event.data.get("state") == state]


async def test_publishing_with_data_of_others_stakes_for_it(builder: Room, chain: Chain):
    model = await published(builder)
    assert chain.staked == {builder.account.address: STAKE_WEI}
    assert (await builder.models.get(model))["challenge"].state == "open"


async def test_publishing_own_data_alone_stakes_nothing(builder: Room, chain: Chain):
    chain.owners.update(dict.fromkeys(chain.owners, builder.account.address))
    await published(builder)
    assert not any(chain.staked.values())


async def test_a_weight_far_below_the_facts_is_told_once(builder: Room, contributor: Room, chain: Chain):
    chain.sizes[7] = 4_000  # forty times as large as the other, and as many of its records were used
    contributor.challenges._low_ppm = 700_000
    model = await published(builder)
    await contributor.challenges.compare()
    await contributor.challenges.compare()
    (event,) = await told(contributor, "underweighted")
    shown = await contributor.models.get(model)
    (mine,) = [weight for weight in shown["weights"] if weight.dataset == 7]
    assert (event["model"], event["dataset"]) == (model, 7)
    assert (event["weight_ppm"], event["fact_ppm"]) == (mine.weight_ppm, mine.fact_ppm)
    assert 0.25 * mine.fact_ppm <= mine.weight_ppm < 0.7 * mine.fact_ppm
    assert mine.address == contributor.account.address


async def test_a_fair_weight_is_no_news(builder: Room, contributor: Room):
    await published(builder)
    await contributor.challenges.compare()
    assert await told(contributor, "underweighted") == []


async def test_the_owner_of_a_dataset_challenges_once(builder: Room, contributor: Room, chain: Chain):
    model = await published(builder)
    done = await contributor.models.challenge(model)
    assert (done.model, done.dataset, done.stake_wei) == (model, 7, STAKE_WEI)
    assert await contributor.models.challenge(model) == done, "safe to repeat"
    assert [key for key in chain.keys if key.endswith(":challenge")] == [f"model:{model}:challenge"]
    shown = (await builder.models.get(model))["challenge"]
    assert (shown.state, shown.challenger) == ("challenged", contributor.account.address)
    assert [one.amount_wei for one in await contributor.models.claimable()] == ["0"], "nobody claims meanwhile"


async def test_a_challenge_that_was_killed_is_taken_up(builder: Room, contributor: Room, chain: Chain):
    model = await published(builder)
    chain.fail_next = True
    with pytest.raises(ConnectionError):
        await contributor.models.challenge(model)
    await contributor.models.challenge(model)
    assert chain.staked[contributor.account.address] == STAKE_WEI


async def test_who_has_no_part_or_is_late_cannot_challenge(builder: Room, consumer: Room, contributor: Room):
    model = await published(builder)
    with pytest.raises(NotYours):
        await consumer.models.challenge(model)
    with pytest.raises(NotYours):  # his own unregistered records give no right
        await builder.models.challenge(model)
    contributor.now += HOUR
    with pytest.raises(TooLate, match="time"):
        await contributor.models.challenge(model)


async def test_a_second_challenger_hears_of_the_first(builder: Room, contributor: Room, chain: Chain):
    model = await published(builder)
    chain.phases[bytes.fromhex(model)] = Phase.CHALLENGED
    chain.doubts[bytes.fromhex(model)] = Challenge(NOBODY, NOW + HOUR)
    with pytest.raises(TooLate, match="already"):
        await contributor.models.challenge(model)


async def test_stakes_come_home_when_nobody_doubted(builder: Room, chain: Chain):
    model = await published(builder)
    await builder.challenges.bring_home()
    assert f"model:{model}:release" not in chain.keys
    builder.now += HOUR
    await builder.challenges.bring_home()
    await builder.challenges.bring_home()
    assert chain.keys.count(f"model:{model}:release") == 1


@pytest.mark.parametrize("side", ["builder", "contributor"])
async def test_stakes_come_home_when_nobody_ruled(builder: Room, contributor: Room, chain: Chain, side: str):
    model = await published(builder)
    await contributor.models.challenge(model)
    room = {"builder": builder, "contributor": contributor}[side]
    room.now = NOW + 7_200
    await room.challenges.bring_home()
    assert f"model:{model}:lapse" not in chain.keys
    room.now += 1
    await room.challenges.bring_home()
    assert f"model:{model}:lapse" in chain.keys


async def test_after_a_ruling_the_weights_are_those_by_facts(builder: Room, contributor: Room, chain: Chain):
    """The card still tells the old ones; everybody computes the new ones, and the proofs fit."""
    chain.sizes[7] = 4_000
    model = await published(builder)
    model_id = bytes.fromhex(model)
    ruled = by_facts(chain.weights[model_id], {7: 4_000 * 800_000, 8: 100 * 800_000})
    chain.weights[model_id], chain.phases[model_id], chain.active_at = ruled, Phase.CLOSED, 0
    chain.received[model_id] = 10**18
    shown = await contributor.models.get(model)
    assert [(weight.dataset, weight.weight_ppm) for weight in shown["weights"]] == ruled
    (owed,) = await contributor.models.claimable()
    receipt = await contributor.models.claim(owed.source)
    assert chain.claimed_amount(receipt) == int(owed.amount_wei) == 6 * 10**17 * dict(ruled)[7] // 1_000_000


async def test_a_card_with_other_weights_than_the_chains_is_nobodys(builder: Room, contributor: Room, chain: Chain):
    model = await published(builder)
    chain.weights[bytes.fromhex(model)] = [(0, 100_000), (7, 800_000), (8, 100_000)]
    with pytest.raises(UnknownModel):
        await contributor.models.get(model)


# --- parents ---


async def test_a_childs_parent_gets_what_it_asks_for_and_its_people_claim(
    builder: Room, contributor: Room, chain: Chain
):
    chain.active_at = 0
    builder.publishing._policy = msgspec.structs.replace(builder.publishing._policy, child_bps=2_000)
    parent = await published(builder)
    child = str((await builder.models.train("fashion", "classification", progress=silent))["model"])
    shown = await builder.models.publish(child, 5_000, parent=parent, force=True)
    assert (shown["parent"], shown["parent_bps"]) == (parent, 2_000)
    chain.received[bytes.fromhex(child)] = 10**18
    owed = {one.source: int(one.amount_wei) for one in await contributor.models.claimable()}
    assert owed[f"parent:{child}"] == 2 * 10**17
    (report, _) = await contributor.models.earnings()
    assert (report.model, report.children_wei, report.contributor_wei) == (parent, 2 * 10**17, 0)
    await contributor.models.claim(f"parent:{child}")
    after = {one.source: int(one.amount_wei) for one in await contributor.models.claimable()}
    assert after[f"parent:{child}"] == 0
    assert after[f"model:{parent}"] > 0, "the parent splits it by its own weights"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"parent": "ab" * 32}, UnknownModel),
        ({"parent": "no id"}, BadCall),
        ({"parent_bps": 100}, BadCall),
    ],
)
async def test_a_parent_that_is_none_is_refused(builder: Room, given, error):
    model = str((await builder.models.train("fashion", "retrieval", progress=silent))["model"])
    with pytest.raises(error):
        await builder.models.publish(model, 5_000, **given)
    assert (await builder.store.get(model)).state == "trained"


async def test_less_than_a_parent_asks_for_is_refused(builder: Room):
    builder.publishing._policy = msgspec.structs.replace(builder.publishing._policy, child_bps=2_000)
    parent = await published(builder)
    child = str((await builder.models.train("fashion", "classification", progress=silent))["model"])
    with pytest.raises(BadCall, match="asks for 2000"):
        await builder.models.publish(child, 5_000, parent=parent, parent_bps=1_999, force=True)
