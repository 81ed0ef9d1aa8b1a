"""Rewards for rating models: proposed, looked at, refuted, claimed, by nodes on a real chain, killed at every step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from eth_hash.auto import keccak

from contracts.anvil import start_anvil
from contracts.bindings.rewards import EpochState
from contracts.deploy import DeployParams
from node.feedback.distributor import REST_S
from node.feedback.errors import NoTicket
from node.feedback.rounds import Rounds
from node.journal.epochs import Proposals
from node.wallet.transact import Transactor
from protocols.feedback.epoch import entitlement
from protocols.feedback.rating import Rating
from tests.support.accounts import TOKEN, wallet_of
from tests.support.money import suite
from tests.support.raters import Rater, accounts, pay, publish, raters
from tests.support.suite import Suite

__all__ = ["fresh_suite", "suite"]

pytestmark = pytest.mark.chain

MODEL, OTHER = "a1" * 32, "b2" * 32
WINDOW_S = 600
EPOCH_S = 60
FEE_BPS, BETA_PPM = 250, 800_000


@pytest.fixture(scope="module")
def fresh_suite() -> Iterator[Suite]:
    params = DeployParams(exit_delay_s=300, reward_epoch_s=EPOCH_S, reward_challenge_window_s=WINDOW_S)
    with start_anvil() as anvil:
        yield Suite(anvil, params)


def due(settled_wei: int) -> int:
    return entitlement(settled_wei, FEE_BPS, BETA_PPM)


async def rate(rater: Rater, model: str = MODEL, stars: int = 4) -> str:
    return (await rater.feedback.give(model, "any call", stars)).feedback


async def test_who_paid_and_rated_is_rewarded_by_the_next_epoch(suite: Suite, tmp_path: Path) -> None:
    async with raters(suite, tmp_path, "alice", "bob", "carol", "dave") as (alice, bob, carol, dave):
        with trio.fail_after(60):
            await publish(carol, MODEL)
            pay(suite, "alice", MODEL, 40 * TOKEN)
            pay(suite, "bob", MODEL, 10 * TOKEN)
            pay(suite, "dave", MODEL, 30 * TOKEN)  # pays, and says nothing
            items = {await rate(alice), await rate(bob, stars=2)}
            assert await carol.proposes() == 1
            (proposal,) = await carol.proposals.all()
            assert set(json.loads(proposal.items)) == items
            assert proposal.evidence == keccak(b"".join(bytes.fromhex(one) for one in sorted(items)))
            epoch = await carol.chain.rewards.epoch(1)
            assert (epoch.proposer, epoch.total_wei) == (carol.purse.address, due(40 * TOKEN) + due(10 * TOKEN))
            assert await alice.rewards.list() == [], "the window is open"
            await alice.looks()
            assert (await carol.chain.rewards.epoch(1)).state == EpochState.PROPOSED, "it is true"
            suite.pass_time(WINDOW_S)
            for rater, settled in ((alice, 40 * TOKEN), (bob, 10 * TOKEN)):
                assert [(one.source, one.amount_wei) for one in await rater.rewards.list()] == [
                    ("epochs", str(due(settled)))
                ]
                before = await rater.chain.token.balance(rater.purse.address)
                assert [claim.source for claim in await rater.rewards.claim()] == ["epochs", "feedback"]
                assert await rater.chain.token.balance(rater.purse.address) - before == due(settled)
                assert await rater.rewards.claim() == []
            assert await dave.rewards.list() == []
            await carol.proposes()  # nothing is new: no proposal, and the stake comes home
            assert await carol.chain.rewards.epoch_count() == 1
            assert (await carol.chain.stakes.account(carol.purse.address)).free_wei == TOKEN


async def test_money_settled_since_asks_for_a_rating_since(suite: Suite, tmp_path: Path) -> None:
    async with raters(suite, tmp_path, "alice", "carol") as (alice, carol):
        with trio.fail_after(60):
            for model in (MODEL, OTHER):
                await publish(carol, model)
            pay(suite, "alice", MODEL, 40 * TOKEN)
            await rate(alice)
            assert await carol.proposes() == 1
            suite.pass_time(EPOCH_S)
            pay(suite, "alice", MODEL, 60 * TOKEN)
            assert await carol.proposes() == 1
            pay(suite, "alice", OTHER, 5 * TOKEN)
            await rate(alice, OTHER)
            assert await carol.proposes() == 2
            suite.pass_time(EPOCH_S)
            await rate(alice)
            assert await carol.proposes() == 3
            suite.pass_time(WINDOW_S)
            (owed,) = await alice.rewards.list()
            assert int(owed.amount_wei) == due(65 * TOKEN)
            claims = await alice.rewards.claim()
            assert [int(one.amount_wei) for one in claims if one.source == "epochs"] == [
                due(40 * TOKEN), due(5 * TOKEN), due(65 * TOKEN) - due(45 * TOKEN)
            ]  # fmt: skip
            assert await carol.chain.rewards.promised() == 0


async def test_a_rating_without_a_lane_never_enters_a_list(suite: Suite, tmp_path: Path) -> None:
    async with raters(suite, tmp_path, "alice", "bob", "carol") as (alice, bob, carol):
        with trio.fail_after(60):
            await publish(carol, MODEL)
            pay(suite, "alice", MODEL, 40 * TOKEN)
            genuine = await rate(alice)
            with pytest.raises(NoTicket):
                await rate(bob)
            forged = await bob.announce("feedback", _rating(bob, MODEL), "fashion")
            assert bob.catalog.get(forged.id, Rating) is not None
            assert carol.catalog.get(forged.id, Rating) is None, "refused at the border"
            await carol.catalog.admit(forged.raw, None)  # even if it were let in
            assert (await carol.distributor.draft()).items == (genuine,)
            pay(suite, "bob", MODEL, TOKEN)  # the rating was quicker than the block that proves it
            await alice.border.look_again()
            assert alice.catalog.get(forged.id, Rating) is not None
            assert set((await carol.distributor.draft()).items) == {genuine, forged.id}


def _rating(rater: Rater, model: str) -> bytes:
    return rater.feedback._body(
        domain="fashion", subject_kind="model", subject=model, ticket=model, rating=5, comment="", outcome=""
    )


@pytest.mark.parametrize("lie", ["more than was settled", "a model that does not exist"])
async def test_a_false_proposal_is_void_and_pays_who_shows_it(suite: Suite, tmp_path: Path, lie: str) -> None:
    async with raters(suite, tmp_path, "alice", "bob", "carol") as (alice, bob, carol):
        with trio.fail_after(60):
            await publish(carol, MODEL)
            pay(suite, "alice", MODEL, 40 * TOKEN)
            await rate(alice)
            model, up_to = (MODEL, 41 * TOKEN) if lie.startswith("more") else (OTHER, TOKEN)
            propose_falsely(suite, "dave", "alice", model, up_to)
            bob.purse.wallet.locked = True
            await bob.looks()
            assert bob.events.events == [
                ("rewards", {"state": "false", "epoch": 1, "proposer": wallet_of("dave").address})
            ]
            assert (await bob.chain.rewards.epoch(1)).state == EpochState.PROPOSED
            bob.purse.wallet.locked = False
            await bob.looks()
            assert (await bob.chain.rewards.epoch(1)).state == EpochState.VOID
            await alice.looks()  # too late, and no trouble
            assert [(one.source, one.amount_wei) for one in await bob.rewards.list()] == [("stake", str(TOKEN // 2))]
            await bob.rewards.claim()
            assert await bob.rewards.list() == []
            assert await carol.proposes() == 2, "nothing of a void proposal counts"
            suite.pass_time(WINDOW_S)
            assert [int(one.amount_wei) for one in await alice.rewards.list()] == [due(40 * TOKEN)]


def propose_falsely(suite: Suite, proposer: str, payer: str, model: str, up_to: int) -> None:
    address = wallet_of(proposer).address
    suite.anvil.call("anvil_impersonateAccount", address)
    suite.send(address, "token", "approve", suite.addresses["stakes"], 2**256 - 1)
    suite.send(address, "stakes", "stake", TOKEN)
    row = (wallet_of(payer).address, due(up_to), 1, [(model, up_to)])
    suite.send(address, "rewards", "propose", accounts([row]), bytes(32))


class Killed(Exception):
    """A process that ended here."""


def dies(patch: pytest.MonkeyPatch, owner: type, name: str, *, before: bool, key: str = "") -> None:
    """The next call of a method (with an outbox key that begins so) is the last thing this process does."""
    real = getattr(owner, name)

    async def dying(self: Any, *args: Any, **options: Any) -> Any:
        if not str(args[0]).startswith(key):
            return await real(self, *args, **options)
        if not before:
            await real(self, *args, **options)
        raise Killed

    patch.setattr(owner, name, dying)


STEPS = [
    ("draft", Proposals, "draft", "", False),
    ("stake put in", Transactor, "once", "stake:", False),
    ("before the proposal is sent", Transactor, "once", "rewards:propose:", True),
    ("proposal final", Transactor, "once", "rewards:propose:", False),
    ("before the epoch is noted", Proposals, "proposed", "", True),
    ("epoch noted", Proposals, "proposed", "", False),
]


@pytest.mark.parametrize(("owner", "name", "key", "before"), [step[1:] for step in STEPS], ids=[s[0] for s in STEPS])
async def test_a_distributor_killed_at_any_step_proposes_once(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, key: str, before: bool
) -> None:
    with trio.fail_after(60):
        async with raters(suite, tmp_path, "alice", "carol") as (alice, carol):
            await publish(carol, MODEL)
            pay(suite, "alice", MODEL, 40 * TOKEN)
            await rate(alice)
            dies(monkeypatch, owner, name, before=before, key=key)
            with pytest.raises(Killed):
                await carol.proposes()
        monkeypatch.undo()
        async with raters(suite, tmp_path, "alice", "carol") as (alice, carol):
            assert await carol.proposes() == 1
            suite.pass_time(EPOCH_S)
            assert await carol.proposes() == 1
            account = await carol.chain.stakes.account(carol.purse.address)
            assert (account.free_wei, await carol.chain.rewards.promised()) == (0, due(40 * TOKEN))
            assert [row.state for row in await carol.proposals.all()] == ["proposed"]
            suite.pass_time(WINDOW_S)
            assert int((await alice.rewards.claim())[0].amount_wei) == due(40 * TOKEN)


@pytest.mark.parametrize("before", [True, False])
async def test_a_watch_killed_while_it_refutes_refutes_once(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    with trio.fail_after(60):
        async with raters(suite, tmp_path, "bob", "carol") as (bob, carol):
            await publish(carol, MODEL)
            pay(suite, "bob", MODEL, TOKEN)
            propose_falsely(suite, "dave", "bob", MODEL, TOKEN + 1)
            dies(monkeypatch, Transactor, "once", before=before, key="rewards:challenge:")
            with pytest.raises(Killed):
                await bob.looks()
        monkeypatch.undo()
        async with raters(suite, tmp_path, "bob") as (bob,):
            await bob.looks()
            assert (await bob.chain.rewards.epoch(1)).state == EpochState.VOID
            assert await bob.chain.stakes.credit(bob.purse.address) == TOKEN // 2
            assert await bob.rewards.claim() != []


@pytest.mark.parametrize(("key", "before"), [("rewards:claim:", True), ("rewards:claim:", False), ("claim:", False)])
async def test_a_payer_killed_while_he_claims_gets_all_of_it_once(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, before: bool
) -> None:
    with trio.fail_after(60):
        async with raters(suite, tmp_path, "alice", "carol") as (alice, carol):
            await publish(carol, MODEL)
            pay(suite, "alice", MODEL, 40 * TOKEN)
            await rate(alice)
            await carol.proposes()
            suite.pass_time(WINDOW_S)
            had = await alice.chain.token.balance(alice.purse.address)
            dies(monkeypatch, Transactor, "once", before=before, key=key)
            with pytest.raises(Killed):
                await alice.rewards.claim()
        monkeypatch.undo()
        async with raters(suite, tmp_path, "alice") as (alice,):
            await alice.rewards.claim()
            assert await alice.chain.token.balance(alice.purse.address) - had == due(40 * TOKEN)
            assert await alice.rewards.list() == []


async def test_two_distributors_do_not_reward_the_same_twice(suite: Suite, tmp_path: Path) -> None:
    async with raters(suite, tmp_path, "alice", "bob", "carol") as (alice, bob, carol):
        with trio.fail_after(60):
            await publish(carol, MODEL)
            pay(suite, "alice", MODEL, 40 * TOKEN)
            await rate(alice)
            await bob.epochs.read()
            assert await carol.proposes() == 1
            await bob.distributor.turn()  # he has not read of it: the contract tells him
            assert await carol.chain.rewards.epoch_count() == 1
            suite.pass_time(EPOCH_S)
            assert await bob.proposes() == 1


async def test_a_distributor_whose_proposal_is_refused_rests(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raters(suite, tmp_path, "alice", "carol") as (alice, carol):
        with trio.fail_after(60):
            await publish(carol, MODEL)
            pay(suite, "alice", MODEL, 40 * TOKEN)
            await rate(alice)
            real = carol.chain.rewards.propose
            monkeypatch.setattr(carol.chain.rewards, "propose", lambda _, evidence: real([], evidence))
            for _ in range(2):
                assert await carol.proposes() == 0
            assert [(row.state, row.note) for row in await carol.proposals.all()] == [("refused", "NoAccounts")]
            monkeypatch.undo()
            suite.pass_time(REST_S)
            assert await carol.proposes() == 1


async def test_a_round_reads_refutes_and_proposes(suite: Suite, tmp_path: Path) -> None:
    async with raters(suite, tmp_path, "alice", "carol") as (alice, carol):
        with trio.fail_after(60):
            await publish(carol, MODEL)
            pay(suite, "alice", MODEL, 40 * TOKEN)
            await rate(alice)
            propose_falsely(suite, "dave", "alice", MODEL, 41 * TOKEN)
            wallet = carol.purse.wallet
            idle = Rounds(wallet=wallet, epochs=carol.epochs, watch=None, distributor=None, every_s=1)
            await idle.turn()
            assert (await carol.chain.rewards.epoch(1)).state == EpochState.PROPOSED
            rounds = Rounds(
                wallet=wallet, epochs=carol.epochs, watch=carol.watch, distributor=carol.distributor, every_s=1
            )
            await rounds.turn()
            assert (await carol.chain.rewards.epoch(1)).state == EpochState.VOID
            assert await carol.chain.rewards.epoch_count() == 2


async def test_stake_goes_in_and_comes_out_after_the_delay(suite: Suite, tmp_path: Path) -> None:
    async with raters(suite, tmp_path, "alice") as (alice,):
        with trio.fail_after(60):
            assert (await alice.stakes.stake(3 * TOKEN)).free_wei == 3 * TOKEN
            await alice.stakes.cover(2 * TOKEN)  # is there already
            await alice.stakes.cover(4 * TOKEN)
            view = await alice.stakes.unstake(TOKEN)
            assert (view.free_wei, view.leaving_wei, view.bound_wei) == (3 * TOKEN, TOKEN, 0)
            assert await alice.rewards.list() == []
            suite.pass_time(await alice.chain.stakes.unbonding_delay())
            assert [(one.source, one.amount_wei) for one in await alice.rewards.claim()] == [("stake", str(TOKEN))]
