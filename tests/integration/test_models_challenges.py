"""Doubting a model's weights on a real chain: stake, challenge, ruling, silence; and what a parent gets of a child."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio

from contracts.anvil import start_anvil
from contracts.deploy import DeployParams
from contracts.params import DEPLOYER
from node.network import Network
from node.wallet.transact import Transactor
from tests.integration.test_models_chain import PRICE, Node, published, three_nodes
from tests.integration.test_reward_epochs import Killed, dies
from tests.support.accounts import TOKEN, wallet_of
from tests.support.models import silent
from tests.support.money import suite
from tests.support.suite import Suite

__all__ = ["fresh_suite", "suite"]

pytestmark = pytest.mark.chain

WINDOW_S, RULING_S = 3_600, 7_200


@pytest.fixture(scope="module")
def fresh_suite() -> Iterator[Suite]:
    params = DeployParams(
        exit_delay_s=300, challenge_window_s=WINDOW_S, ruling_window_s=RULING_S, arbiter=DEPLOYER,
        challenge_stake_wei=5 * TOKEN,
    )  # fmt: skip
    with start_anvil() as anvil:
        yield Suite(anvil, params)


async def stake_of(node: Node) -> tuple[int, int]:
    """Free and bound to the registry of models."""
    stakes, me = node.chain.stakes, node.vault.purse.address
    return (await stakes.account(me)).free_wei, await stakes.bound(me, node.chain.models.address)


def rule(suite: Suite, model: str, weights: list[tuple[int, int]], *, wrong: bool) -> None:
    numbers, ppm = [number for number, _ in weights], [weight for _, weight in weights]
    suite.send(suite.admin, "models", "rule", bytes.fromhex(model), wrong, numbers, ppm)


@pytest.mark.parametrize("wrong", [True, False])
async def test_a_challenge_that_is_ruled_on(
    suite: Suite, tmp_path: Path, alice: Network, bob: Network, carol: Network, wrong: bool
) -> None:
    async with three_nodes(suite, tmp_path, (alice, bob, carol)) as (builder, _, contributor):
        with trio.fail_after(60):
            model = await published(builder)
            assert await stake_of(builder) == (0, 5 * TOKEN)
            (card,) = await builder.models.cards()
            told = [(weight.dataset, weight.weight_ppm) for weight in card.weights]
            done = await contributor.models.challenge(model)
            assert await contributor.models.challenge(model) == done
            assert await stake_of(contributor) == (0, 5 * TOKEN)
            rule(suite, model, told, wrong=wrong)
            shown = await contributor.models.get(model)
            standing = [(weight.dataset, weight.weight_ppm) for weight in shown["weights"]]
            assert (standing == told) is not wrong
            winner, loser = (contributor, builder) if wrong else (builder, contributor)
            assert (await stake_of(winner), await stake_of(loser)) == ((5 * TOKEN, 0), (0, 0))
            assert await winner.chain.stakes.credit(winner.vault.purse.address) == 5 * TOKEN // 2
            suite.pass_time(WINDOW_S)
            await claims_all(suite, builder, contributor, model)


async def claims_all(suite: Suite, builder: Node, contributor: Node, model: str) -> None:
    """Whatever weights stand now: what came in goes out whole, to the unit that rounding leaves."""
    models = builder.chain.models
    suite.anvil.call("anvil_impersonateAccount", wallet_of("bob").address)
    suite.send(wallet_of("bob").address, "token", "approve", models.address, 2**256 - 1)
    suite.send(wallet_of("bob").address, "models", "pay", bytes.fromhex(model), 10 * TOKEN)
    for node in (builder, contributor):
        for owed in await node.models.claimable():
            await node.models.claim(owed.source)
    on_chain = await models.model(bytes.fromhex(model))
    left = on_chain.received_wei - on_chain.paid_out_wei - on_chain.publisher_paid_wei
    assert 0 <= left <= 2


async def test_an_arbiter_who_is_silent_costs_nobody_anything(
    suite: Suite, tmp_path: Path, alice: Network, bob: Network, carol: Network
) -> None:
    async with three_nodes(suite, tmp_path, (alice, bob, carol)) as (builder, _, contributor):
        with trio.fail_after(60):
            model = await published(builder)
            await contributor.models.challenge(model)
            suite.pass_time(RULING_S + 1)
            await contributor.challenges.bring_home()
            await builder.challenges.bring_home()
            assert await stake_of(builder) == await stake_of(contributor) == (5 * TOKEN, 0)
            assert (await builder.models.get(model))["challenge"].state == "settled"


async def test_a_stake_that_nobody_doubted_comes_home(
    suite: Suite, tmp_path: Path, alice: Network, bob: Network, carol: Network
) -> None:
    async with three_nodes(suite, tmp_path, (alice, bob, carol)) as (builder, _, _):
        with trio.fail_after(60):
            await published(builder)
            await builder.challenges.bring_home()
            assert await stake_of(builder) == (0, 5 * TOKEN)
            suite.pass_time(WINDOW_S)
            await builder.challenges.bring_home()
            assert await stake_of(builder) == (5 * TOKEN, 0)


@pytest.mark.parametrize("key", ["stake:", "model:"])
@pytest.mark.parametrize("before", [True, False])
async def test_a_challenger_killed_at_any_step_stakes_once(
    suite: Suite, tmp_path: Path, alice: Network, bob: Network, carol: Network, monkeypatch: pytest.MonkeyPatch,
    key: str, before: bool,
) -> None:  # fmt: skip
    async with three_nodes(suite, tmp_path, (alice, bob, carol)) as (builder, _, contributor):
        with trio.fail_after(60):
            model = await published(builder)
            dies(monkeypatch, Transactor, "once", before=before, key=key)
            with pytest.raises(Killed):
                await contributor.models.challenge(model)
            monkeypatch.undo()
            await contributor.models.challenge(model)
            assert await stake_of(contributor) == (0, 5 * TOKEN)


@pytest.mark.parametrize("key", ["stake:", "model:"])
@pytest.mark.parametrize("before", [True, False])
async def test_a_publisher_killed_at_any_step_stakes_once(
    suite: Suite, tmp_path: Path, alice: Network, bob: Network, carol: Network, monkeypatch: pytest.MonkeyPatch,
    key: str, before: bool,
) -> None:  # fmt: skip
    async with three_nodes(suite, tmp_path, (alice, bob, carol)) as (builder, _, _):
        with trio.fail_after(60):
            model = str((await builder.models.train("fashion", "retrieval", progress=silent))["model"])
            dies(monkeypatch, Transactor, "once", before=before, key=key)
            with pytest.raises(Killed):
                await builder.models.publish(model, PRICE)
            monkeypatch.undo()
            await builder.models.resume()
            assert (await builder.models.get(model))["state"] == "published"
            assert await stake_of(builder) == (0, 5 * TOKEN)


async def test_a_child_pays_its_parent_and_the_parents_people(
    suite: Suite, tmp_path: Path, alice: Network, bob: Network, carol: Network
) -> None:
    async with three_nodes(suite, tmp_path, (alice, bob, carol)) as (builder, _, contributor):
        with trio.fail_after(90):
            policy = builder.models._publishing._policy
            builder.models._publishing._policy = msgspec.structs.replace(policy, child_bps=2_000)
            parent = await published(builder)
            trained = await builder.models.train("fashion", "classification", progress=silent)
            child = trained["model"]
            await builder.models.publish(child, PRICE, parent=parent, force=True)
            models, bob_address = builder.chain.models, wallet_of("bob").address
            suite.anvil.call("anvil_impersonateAccount", bob_address)
            suite.send(bob_address, "token", "approve", models.address, 2**256 - 1)
            suite.send(bob_address, "models", "pay", bytes.fromhex(child), 10 * TOKEN)
            suite.pass_time(WINDOW_S)
            received = (await models.model(bytes.fromhex(child))).received_wei
            owed = {one.source: int(one.amount_wei) for one in await contributor.models.claimable()}
            assert owed[f"parent:{child}"] == received * 2_000 // 10_000
            assert owed[f"model:{parent}"] == 0
            await contributor.models.claim(f"parent:{child}")
            assert (await models.model(bytes.fromhex(parent))).received_wei == received * 2_000 // 10_000
            after = {one.source: int(one.amount_wei) for one in await contributor.models.claimable()}
            assert after[f"model:{parent}"] > 0
            assert after[f"parent:{child}"] == 0
