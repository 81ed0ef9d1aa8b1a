"""The Python mirrors of split and epochs against the contracts on a chain, through the typed bindings."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256

import coincurve
import msgspec
import pytest
import trio
from eth_hash.auto import keccak

from contracts import books
from contracts.anvil import find_anvil, start_anvil
from contracts.bindings.models import Phase, Share, Terms
from contracts.bindings.rewards import EpochState
from contracts.chain import Call, Chain, open_chain
from contracts.errors import Reverted
from contracts.params import DEPLOYER, TOKEN, DeployParams
from protocols.feedback.epoch import Account, EpochTree, Line, account_of, lines_hash, ordered
from protocols.ids import Address, checksum
from protocols.inference.weights import OWN, Pair, WeightsTree, by_facts, fact, floors, lift
from protocols.voucher import sign_voucher, voucher_domain
from tests.support.suite import Suite

pytestmark = [pytest.mark.chain, pytest.mark.skipif(find_anvil() is None, reason="no anvil: npm ci in contracts/")]
WINDOW_S = 1_000


@pytest.fixture
def suite() -> Iterator[Suite]:
    params = DeployParams(challenge_window_s=WINDOW_S, arbiter=DEPLOYER, reward_challenge_window_s=WINDOW_S)
    with start_anvil() as anvil:
        yield Suite(anvil, params)


class Actor:
    """Sends the bindings' calls from accounts that anvil unlocks."""

    def __init__(self, suite: Suite, chain: Chain) -> None:
        self.suite = suite
        self.chain = chain
        self.builder, self.friend, self.rival, self.stranger = suite.accounts[1:5]
        for who in (self.builder, self.friend, self.rival, self.stranger):
            suite.give(who, 10_000 * TOKEN, "models", "stakes", "bank")

    async def send(self, sender: str, call: Call) -> None:
        """Raises Reverted."""
        await self.chain.estimate(call, sender)
        request = {"from": sender, "to": call.to, "data": "0x" + call.data.hex(), "gas": hex(15_000_000)}
        digest = self.suite.anvil.call("eth_sendTransaction", request)
        with trio.fail_after(30):  # anvil mines a moment after it has answered
            while (receipt := await self.chain.receipt(digest)) is None:
                await trio.sleep(0.002)
        assert receipt.ok

    def register(self, owner: str, records: int, quality_ppm: int) -> int:
        empty, cid = bytes(32), bytes(36)
        row: tuple[object, ...] = (b"r" * 32, 4, records, empty, empty, empty, quality_ppm, [], cid)
        return int(self.suite.send(owner, "registry", "register", *row)[0][1]["id"])


@asynccontextmanager
async def on(suite: Suite) -> AsyncIterator[Actor]:
    async with open_chain(suite.anvil.rpc_url, suite.addresses, suite.anvil.chain_id) as chain:
        yield Actor(suite, chain)


def terms(name: str, **more: object) -> Terms:
    return msgspec.structs.replace(
        Terms(model_id=sha256(name.encode()).digest(), publisher_bps=2_000, price_per_unit_wei=1), **more
    )


def publication(chain: Chain, which: Terms, weights: list[Pair]) -> Call:
    return chain.models.publish(which, [one for one, _ in weights], [ppm for _, ppm in weights], b"cid")


async def test_lifted_weights_are_published_and_one_less_is_refused(suite: Suite) -> None:
    dice = random.Random(7)
    async with on(suite) as actor:
        chain = actor.chain
        await actor.send(actor.builder, chain.stakes.stake(50 * TOKEN))
        refused = 0
        for turn in range(12):
            facts = {}
            for _ in range(dice.randint(1, 5)):
                records, quality = (
                    dice.randint(1, 2**32 - 1) >> dice.randint(0, 31),
                    dice.choice([0, 1, 500_000, 10**6]),
                )
                facts[actor.register(actor.friend, max(1, records), quality)] = fact(max(1, records), quality)
            datasets = [OWN, *sorted(facts)] if dice.random() < 0.5 else sorted(facts)
            cuts = sorted(dice.sample(range(1, 10**6), len(datasets) - 1))
            wanted = [
                (dataset, high - low) for dataset, low, high in zip(datasets, [0, *cuts], [*cuts, 10**6], strict=True)
            ]
            weights = lift(wanted, facts)
            which = terms(f"model {turn}")
            await actor.send(actor.builder, publication(chain, which, weights))
            model = await chain.models.model(which.model_id)
            assert model.weights_root == WeightsTree(weights).root
            assert (model.publisher.lower(), model.phase) == (actor.builder.lower(), Phase.STAKED)
            own = weights[0][1] if weights[0][0] == OWN else 0
            least = dict(zip(datasets, floors(datasets, own, facts), strict=True))
            robbed = max(facts, key=lambda one: least[one])
            gainer = next((one for one in facts if one != robbed), None)
            if gainer is None or not least[robbed]:
                continue
            short = dict(weights) | {robbed: least[robbed] - 1}
            short[gainer] += 10**6 - sum(short.values())
            with pytest.raises(Reverted, match="BelowFloor"):
                await actor.send(actor.builder, publication(chain, terms(f"short {turn}"), sorted(short.items())))
            refused += 1
        assert refused > 3


async def test_a_ruling_gives_the_weights_that_the_mirror_says(suite: Suite) -> None:
    async with on(suite) as actor:
        chain = actor.chain
        facts = {actor.register(actor.friend, 137, 700_001): fact(137, 700_001)}
        facts[actor.register(actor.rival, 4_001, 3)] = fact(4_001, 3)
        facts[actor.register(actor.rival, 990, 900_000)] = fact(990, 900_000)
        weights = [(0, 333_333), (1, 300_000), (2, 100_000), (3, 266_667)]
        which, tree = terms("doubted"), WeightsTree(weights)
        for who in (actor.builder, actor.rival):
            await actor.send(who, chain.stakes.stake(2 * TOKEN))
        await actor.send(actor.builder, publication(chain, which, weights))
        await actor.send(actor.stranger, chain.models.pay(which.model_id, 100 * TOKEN))
        share = Share(which.model_id, 3, 3, 266_667, tuple(tree.proof(3)))
        with pytest.raises(Reverted, match="NotOwner"):
            await actor.send(actor.friend, chain.models.challenge(share))
        await actor.send(actor.rival, chain.models.challenge(share))
        assert (await chain.models.challenge_of(which.model_id)).challenger.lower() == actor.rival.lower()
        listed = [dataset for dataset, _ in weights], [ppm for _, ppm in weights]
        await actor.send(suite.admin, chain.models.rule(which.model_id, *listed, wrong=True))
        ruled = by_facts(weights, facts)
        model = await chain.models.model(which.model_id)
        assert model.weights_root == WeightsTree(ruled).root != tree.root
        assert model.phase == Phase.CLOSED
        assert await chain.stakes.credit(actor.rival) == TOKEN // 2
        assert await chain.stakes.bound(actor.builder, chain.models.address) == 0
        suite.pass_time(WINDOW_S)
        due = await chain.models.contributor_due(which.model_id, 3, ruled[3][1])
        before = suite.view("token", "balanceOf", actor.rival)
        good = Share(which.model_id, 3, 3, ruled[3][1], tuple(WeightsTree(ruled).proof(3)))
        await actor.send(actor.stranger, chain.models.claim(good))
        assert suite.view("token", "balanceOf", actor.rival) - before == due > 0
        await actor.send(actor.rival, chain.stakes.withdraw())
        assert books.audit(suite.anvil.rpc_url, suite.addresses, suite.deployment.block).balanced


async def test_what_a_child_earns_reaches_the_parents_contributors(suite: Suite) -> None:
    async with on(suite) as actor:
        chain = actor.chain
        parent, child = terms("parent", child_bps=1_500), terms("child", publisher_bps=0)
        await actor.send(actor.builder, publication(chain, parent, [(0, 10**6)]))
        low = msgspec.structs.replace(child, parent=parent.model_id, parent_bps=1_499)
        with pytest.raises(Reverted, match="ParentShareTooLow"):
            await actor.send(actor.friend, publication(chain, low, [(0, 10**6)]))
        right = msgspec.structs.replace(low, parent_bps=1_500)
        await actor.send(actor.friend, publication(chain, right, [(0, 10**6)]))
        await actor.send(actor.stranger, chain.models.pay(child.model_id, 40 * TOKEN))
        due = await chain.models.parent_due(child.model_id)
        assert due == 39 * TOKEN * 15 // 100
        await actor.send(actor.stranger, chain.models.claim_parent(child.model_id))
        assert (await chain.models.model(parent.model_id)).received_wei == due
        assert (await chain.models.model(child.model_id)).parent_paid_wei == due
        assert await chain.models.publisher_due(parent.model_id) == due * 2_000 // 10_000


class Callers:
    """People who call models and settle at once."""

    def __init__(self, actor: Actor, count: int) -> None:
        self.actor = actor
        self.keys = [coincurve.PrivateKey(sha256(b"caller %d" % n).digest()) for n in range(count)]
        self.who = [checksum(keccak(key.public_key.format(compressed=False)[1:])[12:]) for key in self.keys]
        for payer in self.who:
            actor.suite.send(actor.stranger, "bank", "deposit", payer, 1_000 * TOKEN)

    def call(self, number: int, model: bytes, total: int) -> None:
        suite, payer = self.actor.suite, self.who[number]
        payee = Address(suite.addresses["models"])
        lane = int.from_bytes(model[-8:], "big")
        domain = voucher_domain(suite.anvil.chain_id, Address(suite.addresses["bank"]))
        signature = sign_voucher(self.keys[number], domain, payer, payee, lane, total).signature
        items = [(payer, lane, total, signature[:32], signature[32:])]
        suite.send(self.actor.stranger, "models", "settle", model, items)


def epoch_of(actor: Actor, rows: dict[Address, list[Line]], had: dict[Address, int]) -> list[Account]:
    suite = actor.suite
    fee, beta = suite.view("models", "feeBps"), suite.view("rewards", "betaPpm")
    return ordered(
        [
            account_of(payer, lines, had_wei=had.get(payer, 0), fee_bps=fee, beta_ppm=beta)
            for payer, lines in rows.items()
        ]
    )


async def test_two_epochs_as_the_mirror_makes_them(suite: Suite) -> None:
    async with on(suite) as actor:
        chain, pool = actor.chain, actor.chain.rewards
        names = [terms("one").model_id, terms("two").model_id]
        for name in ("one", "two"):
            await actor.send(actor.builder, publication(chain, terms(name), [(0, 10**6)]))
        callers = Callers(actor, 5)
        settled = {(n, m): (3 * n + m + 1) * TOKEN for n in range(5) for m in range(2)}
        for (n, m), total in settled.items():
            callers.call(n, names[m], total)
        await actor.send(actor.stranger, chain.models.pay(names[0], 900 * TOKEN))  # a budget above the sum
        await actor.send(actor.friend, chain.stakes.stake(5 * TOKEN))
        rows = {callers.who[n]: [Line(names[m], settled[n, m]) for m in range(2)] for n in range(5)}
        first = epoch_of(actor, rows, {})
        await actor.send(actor.friend, pool.propose(first, sha256(b"evidence").digest()))
        tree, epoch = EpochTree(first), await pool.epoch(1)
        assert (epoch.root, epoch.total_wei, epoch.state) == (tree.root, tree.total_wei, EpochState.PROPOSED)
        assert epoch.proposer.lower() == actor.friend.lower()
        with pytest.raises(Reverted, match="NoFault"):
            await actor.send(actor.rival, pool.challenge(1, 2, first[2], tree.proof(2)))
        suite.pass_time(86_400)
        for index, account in enumerate(first):
            await actor.send(
                actor.stranger, pool.claim(1, index, account, lines_hash(account.lines), tree.proof(index))
            )
            assert await pool.credit(account.payer) == account.cumulative_wei
            assert await pool.is_claimed(1, index)
        await actor.send(actor.stranger, pool.finish(1))
        callers.call(3, names[1], 200 * TOKEN)
        rows[callers.who[3]][1] = Line(names[1], 200 * TOKEN)
        had = {account.payer: await pool.claimed(account.payer) for account in first}
        (only,) = second = epoch_of(actor, rows, had)
        assert only.payer == callers.who[3]
        await actor.send(actor.friend, pool.propose(second, bytes(32)))
        suite.pass_time(86_400)
        await actor.send(actor.stranger, pool.claim(2, 0, only, lines_hash(only.lines), []))
        assert await pool.claimed(only.payer) == only.cumulative_wei
        assert await pool.promised() == 0
        assert books.audit(suite.anvil.rpc_url, suite.addresses, suite.deployment.block).balanced


async def test_a_lie_is_refuted_with_the_mirrors_proof(suite: Suite) -> None:
    async with on(suite) as actor:
        chain, pool = actor.chain, actor.chain.rewards
        name = terms("one").model_id
        await actor.send(actor.builder, publication(chain, terms("one"), [(0, 10**6)]))
        callers = Callers(actor, 3)
        for n in range(3):
            callers.call(n, name, (n + 1) * TOKEN)
        await actor.send(actor.stranger, chain.models.pay(name, 900 * TOKEN))
        await actor.send(actor.friend, chain.stakes.stake(5 * TOKEN))
        rows = {callers.who[n]: [Line(name, (n + 1) * TOKEN)] for n in range(3)}
        liar = callers.who[1]
        rows[liar] = [Line(name, 2 * TOKEN + 10**9)]
        accounts = epoch_of(actor, rows, {})
        await actor.send(actor.friend, pool.propose(accounts, bytes(32)))
        tree = EpochTree(accounts)
        guilty = next(index for index, account in enumerate(accounts) if account.payer == liar)
        await actor.send(actor.rival, pool.challenge(1, guilty, accounts[guilty], tree.proof(guilty)))
        assert (await pool.epoch(1)).state == EpochState.VOID
        assert await chain.stakes.credit(actor.rival) == await pool.proposer_stake() // 2
        assert await pool.promised() == 0
        assert await pool.next_proposal_at() <= await chain.timestamp()
