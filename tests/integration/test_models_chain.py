"""A model's life on real parts: contracts on an anvil, vouchers, hosts. Only the embedder is a test's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from contracts.errors import Reverted
from node.feedback.stakes import Stakes
from node.journal.catalog import CatalogStore
from node.journal.model_accounts import ModelAccounts
from node.journal.model_calls import ModelCalls
from node.journal.models import Models as ModelStore
from node.market.catalog.catalog import Catalog
from node.market.kinds import Context
from node.models.artifacts import Artifacts
from node.models.calling import Calling
from node.models.challenges import Challenges
from node.models.directory import Directory
from node.models.earnings import Earnings, share_of
from node.models.errors import PaymentRequired
from node.models.facts import Facts
from node.models.publishing import Publishing, PublishPolicy
from node.models.service import Models
from node.models.serving import Serving
from node.models.workshop import Workshop
from node.network import Network
from node.observe.events import EventBus
from node.shard.record import ShardRecord
from node.wallet.errors import InsufficientFunds
from protocols.ids import Address
from protocols.inference.card import lane
from tests.support.accounts import TOKEN, wallet_of
from tests.support.items import NETWORK
from tests.support.models import Cellar, Crier, Embedder, Shelf, Teacher, reviews, silent
from tests.support.money import Vault, fresh_suite, open_purse, suite
from tests.support.network import meet
from tests.support.suite import Suite

__all__ = ["fresh_suite", "suite"]

pytestmark = pytest.mark.chain

PRICE = TOKEN // 100
BUILDER_BPS = 4_000


class Node:
    """One participant: a vault, a host, and the models' room over them."""

    def __init__(
        self, vault: Vault, network: Network, folder: Path, catalogs: list[Catalog], records: list[ShardRecord]
    ) -> None:
        purse, events = vault.purse, EventBus()
        chain, journal, wallet = purse.chain, purse.journal, purse.wallet
        self.vault = vault
        self.chain = chain
        self.catalog = Catalog(CatalogStore(journal), Context(NETWORK, chain.chain_id), vault.now)
        catalogs.append(self.catalog)
        self.store, self.accounts = ModelStore(journal), ModelAccounts(journal)
        artifacts, embedder, clock = Artifacts(folder / "models"), Embedder(), vault.now
        workshop = Workshop(
            shard=Shelf(records), embedder=embedder, store=self.store, artifacts=artifacts, wallet=wallet,
            events=events, lessons=(teacher := Teacher()), held_out_ppm=250_000, threads=1, clock=clock,
        )  # fmt: skip
        facts = Facts(chain.registry)
        self.stakes = Stakes(wallet=wallet, chain=chain, transactor=purse.transactor)
        publishing = Publishing(
            workshop=workshop, store=self.store, registry=chain.models, facts=facts, surety=self.stakes,
            transactor=purse.transactor, blocks=Cellar(),
            announcer=Crier(catalogs, wallet, network.peer_id, chain.chain_id), events=events, clock=clock,
            policy=PublishPolicy(NETWORK, chain.chain_id, publisher_bps=BUILDER_BPS, default_price_wei=PRICE),
        )  # fmt: skip
        serving = Serving(
            store=self.store, accounts=self.accounts, artifacts=artifacts, embedder=embedder, registry=chain.models,
            till=vault.till, wallet=wallet, wire=network, events=events, chain_id=chain.chain_id, clock=clock,
        )  # fmt: skip
        directory = Directory(self.catalog, chain.models, facts, clock)
        calling = Calling(
            directory=directory, calls=ModelCalls(journal), own=serving, purse=vault.lanes, bank=chain.bank,
            wallet=wallet, wire=network, events=events, payee=Address(chain.models.address), chain_id=chain.chain_id,
            clock=clock, retry_after_s=0.05,
        )  # fmt: skip
        earnings = Earnings(
            store=self.store, directory=directory, registry=chain.models, facts=facts, settler=vault.settler,
            transactor=purse.transactor, wallet=wallet, events=events, chain_time=chain.timestamp,
        )  # fmt: skip
        self.challenges = Challenges(
            directory=directory, earnings=earnings, registry=chain.models, surety=self.stakes,
            transactor=purse.transactor, store=self.store, wallet=wallet, events=events, low_ppm=500_000, clock=clock,
        )  # fmt: skip
        self.models = Models(
            workshop=workshop, publishing=publishing, serving=serving, calling=calling, earnings=earnings,
            challenges=self.challenges, directory=directory, registry=chain.models, facts=facts, standings=teacher,
        )  # fmt: skip


@asynccontextmanager
async def three_nodes(
    suite: Suite, folder: Path, networks: tuple[Network, Network, Network]
) -> AsyncIterator[tuple[Node, Node, Node]]:
    """Alice builds on her own records and Carol's (dataset on chain), Bob consumes."""
    suite.anvil.call("anvil_impersonateAccount", wallet_of("carol").address)
    dataset = suite.register(wallet_of("carol").address, b"\1" * 32, 8)
    records = [
        msgspec.structs.replace(record, dataset=dataset) if record.owner else record
        for record in await reviews(300, ("", wallet_of("carol").address))
    ]
    catalogs: list[Catalog] = []
    async with AsyncExitStack() as stack:
        nodes = []
        for name, network in zip(("alice", "bob", "carol"), networks, strict=True):
            purse = await stack.enter_async_context(open_purse(suite, folder / name, name))
            mine = records if name == "alice" else []
            nodes.append(Node(Vault(purse, suite), network, folder / name, catalogs, mine))
        nodes[0].models.serve()
        yield nodes[0], nodes[1], nodes[2]


async def published(builder: Node) -> str:
    trained = await builder.models.train("fashion", "retrieval", progress=silent)
    await builder.models.publish(trained["model"], PRICE)
    return str(trained["model"])


async def test_from_training_to_the_contributors_claim(
    suite: Suite, tmp_path: Path, alice: Network, bob: Network, carol: Network
) -> None:
    await meet(alice, bob, carol)
    async with three_nodes(suite, tmp_path, (alice, bob, carol)) as (builder, consumer, contributor):
        with trio.fail_after(60):
            model = await published(builder)
            on_chain = await builder.chain.models.model(bytes.fromhex(model))
            assert (on_chain.publisher_bps, on_chain.price_per_unit_wei) == (BUILDER_BPS, PRICE)
            await consumer.vault.service.deposit(10 * TOKEN)
            consumer.vault.purse.wallet.locked = True  # the session key pays
            for number in range(3):
                answer = await consumer.models.call(model, [f"text {number} {n}" for n in range(40)])
                assert len(answer["outputs"]) == 40
            paid = 120 * PRICE
            (batch,) = await builder.models.settle(model)
            assert (batch.vouchers, batch.paid_wei) == (1, str(paid))
            assert await builder.models.settle() == []
            fee = paid * await builder.chain.models.fee_bps() // 10_000
            await check_split(builder, contributor, model, paid - fee)


async def check_split(builder: Node, contributor: Node, model: str, received_wei: int) -> None:
    """The tokens that arrive are what publisher's share and weights say."""
    (card,) = await builder.models.cards()
    weights = {weight.address: weight.weight_ppm for weight in card.weights}
    pool = received_wei - received_wei * BUILDER_BPS // 10_000
    for node, sources in ((contributor, ["model"]), (builder, ["model", "publisher"])):
        mine = node.vault.purse.address
        due = pool * weights[mine] // 1_000_000
        due += received_wei * BUILDER_BPS // 10_000 if "publisher" in sources else 0
        before = await node.chain.token.balance(mine)
        assert sorted(one.source for one in await node.models.claimable()) == [f"{role}:{model}" for role in sources]
        for role in sources:
            await node.models.claim(f"{role}:{model}")
        assert await node.chain.token.balance(mine) - before == due
        assert {one.amount_wei for one in await node.models.claimable()} == {"0"}


async def test_the_contract_takes_our_proofs_and_no_others(
    suite: Suite, tmp_path: Path, alice: Network, bob: Network, carol: Network
) -> None:
    async with three_nodes(suite, tmp_path, (alice, bob, carol)) as (builder, _, _):
        with trio.fail_after(60):
            await published(builder)
            (card,) = await builder.models.cards()
            sender, chain = builder.vault.purse.address, builder.chain
            for index in range(len(card.weights)):
                share = share_of(card, card.weights, index)
                await chain.simulate(chain.models.claim(share), sender)
                for wrong in (
                    msgspec.structs.replace(share, weight_ppm=share.weight_ppm + 1),
                    msgspec.structs.replace(share, index=index + 1),
                    msgspec.structs.replace(share, proof=(b"\1" * 32,)),
                ):
                    with pytest.raises(Reverted, match="BadProof"):
                        await chain.simulate(chain.models.claim(wrong), sender)


async def test_a_consumer_without_cover_gets_nothing_and_owes_nothing(
    suite: Suite, tmp_path: Path, alice: Network, bob: Network, carol: Network
) -> None:
    await meet(alice, bob)
    async with three_nodes(suite, tmp_path, (alice, bob, carol)) as (builder, consumer, _):
        with trio.fail_after(60):
            model = await published(builder)
            with pytest.raises((InsufficientFunds, PaymentRequired)):
                await consumer.models.call(model, ["a coat"])
            await consumer.vault.service.deposit(PRICE)
            await consumer.models.call(model, ["a coat"])
            with pytest.raises((InsufficientFunds, PaymentRequired)):
                await consumer.models.call(model, ["another coat"])
            account = await builder.accounts.of(model, consumer.vault.purse.address)
            assert account.served_wei == PRICE


async def test_a_model_of_a_revoked_dataset_cannot_be_published(
    suite: Suite, tmp_path: Path, alice: Network, bob: Network, carol: Network
) -> None:
    async with three_nodes(suite, tmp_path, (alice, bob, carol)) as (builder, _, _):
        with trio.fail_after(60):
            trained = await builder.models.train("fashion", "retrieval", progress=silent)
            suite.send(wallet_of("carol").address, "registry", "revoke", trained["datasets"][0])
            with pytest.raises(Reverted, match="DatasetNotActive"):
                await builder.models.publish(trained["model"], PRICE)
            assert (await builder.store.get(trained["model"])).state == "publishing"
            await builder.models.resume()  # warns, and goes on to the others


async def test_the_lane_is_the_contracts(suite: Suite, tmp_path: Path) -> None:
    async with open_purse(suite, tmp_path / "alice", "alice") as purse:
        for model in ("ab" * 32, "00" * 31 + "01", "ff" * 32):
            assert await purse.chain.models.lane(bytes.fromhex(model)) == lane(model)
