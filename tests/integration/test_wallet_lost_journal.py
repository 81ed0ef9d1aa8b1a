"""A payer whose journal is gone, and whose keys are not: the next call works, and nothing is paid twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from node.network import Network
from node.wallet.errors import Outdated, VoucherRefused
from protocols.inference.card import lane
from protocols.voucher import sign_voucher, voucher_domain
from tests.integration.test_models_chain import PRICE, Node, published, three_nodes
from tests.integration.test_wallet_vouchers import LANE, vault
from tests.support.accounts import TOKEN, wallet_of
from tests.support.money import Vault, fresh_suite, open_purse, suite
from tests.support.network import alice, bob, carol, meet
from tests.support.suite import Suite

__all__ = ["alice", "bob", "carol", "fresh_suite", "suite"]

pytestmark = pytest.mark.chain


@asynccontextmanager
async def forgetful(
    suite: Suite, folder: Path, networks: tuple[Network, Network, Network]
) -> AsyncIterator[tuple[Node, Node, Node]]:
    """A builder, and one consumer before and after his journal was deleted."""
    async with (
        three_nodes(suite, folder, networks) as (builder, before, _),
        open_purse(suite, folder / "bob-again", "bob") as purse,
    ):
        after = Node(Vault(purse, suite), networks[1], folder / "bob-again", [], [])
        after.models._calling._directory = before.models._calling._directory  # what is on offer is not forgotten
        yield builder, before, after


@pytest.mark.parametrize("settled", [0, 2], ids=["nothing settled", "two of five settled"])
async def test_the_next_call_works_and_costs_its_price(
    suite: Suite, tmp_path: Path, alice: Network, bob: Network, carol: Network, settled: int
) -> None:
    await meet(alice, bob)
    async with forgetful(suite, tmp_path, (alice, bob, carol)) as (builder, before, after):
        with trio.fail_after(60):
            model = await published(builder)
            await before.vault.service.deposit(10 * TOKEN)
            for number in range(5):
                await before.models.call(model, [f"coat {number}"])
                if number + 1 == settled:
                    await builder.models.settle(model)
            for number in range(3):
                await after.models.call(model, [f"hat {number}"])
                registry = after.chain.models.address
                assert await after.vault.lanes.promised(registry, lane(model)) == (6 + number) * PRICE
            await builder.models.settle(model)
            paid = await builder.chain.bank.paid(wallet_of("bob").address, builder.chain.models.address, lane(model))
            served = (await builder.accounts.of(model, wallet_of("bob").address)).served_wei
            assert paid == served == 8 * PRICE


async def test_a_unit_that_was_open_when_the_journal_was_lost_is_credit(
    suite: Suite, tmp_path: Path, alice: Network, bob: Network, carol: Network
) -> None:
    """A voucher had left and no answer had come: what the provider shows as not served is not paid again."""
    await meet(alice, bob)
    async with forgetful(suite, tmp_path, (alice, bob, carol)) as (builder, before, after):
        with trio.fail_after(60):
            model = await published(builder)
            registry = builder.chain.models.address
            await before.vault.service.deposit(10 * TOKEN)
            for number in range(2):
                await before.models.call(model, [f"coat {number}"])
            ahead = await before.vault.lanes.promise(registry, lane(model), 3 * PRICE)
            await builder.vault.till.accept(ahead, payee=registry, lane=lane(model))
            await after.models.call(model, ["a hat"])
            assert await after.vault.lanes.promised(registry, lane(model)) == 3 * PRICE


async def test_both_journals_lost_they_go_on_from_what_the_chain_has_paid(
    suite: Suite, tmp_path: Path, alice: Network, bob: Network, carol: Network
) -> None:
    """And a tab that was opened before the chain had paid so much is no trap."""
    await meet(alice, bob)
    async with forgetful(suite, tmp_path, (alice, bob, carol)) as (builder, before, after):
        with trio.fail_after(60):
            model = await published(builder)
            await before.vault.service.deposit(10 * TOKEN)
            await after.models._calling._calls.begin(model, 0)
            for number in range(3):
                await before.models.call(model, [f"coat {number}"])
            await builder.models.settle(model)
            await builder.vault.purse.journal.write(lambda conn: conn.execute("DELETE FROM voucher_takings"))
            await after.models.call(model, ["a hat"])
            assert await after.vault.lanes.promised(after.chain.models.address, lane(model)) == 4 * PRICE


async def test_a_payee_shows_a_newer_voucher_to_its_signer_and_to_nobody_else(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "alice") as payer, vault(suite, tmp_path, "carol") as payee:
            here = payee.purse.address
            await payer.service.deposit(10 * TOKEN)
            newest = await payer.lanes.promise(here, LANE, 3 * TOKEN)
            await payee.till.accept(newest, payee=here, lane=LANE)
            domain = voucher_domain(suite.deployment.chain_id, payer.purse.chain.bank.address)
            for key, shown in ((payer.session, True), (payer.purse.wallet.key, True), (wallet_of("bob").key, False)):
                old = sign_voucher(key, domain, payer.purse.address, here, LANE, TOKEN)
                with pytest.raises(VoucherRefused) as caught:
                    await payee.till.accept(old, payee=here, lane=LANE)
                assert isinstance(caught.value, Outdated) == shown
                if isinstance(caught.value, Outdated):
                    assert caught.value.held == newest


async def test_a_payer_adopts_only_what_he_signed_and_never_less_than_he_knows(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "alice") as payer:
            here = wallet_of("carol").address
            await payer.service.deposit(10 * TOKEN)
            domain = voucher_domain(suite.deployment.chain_id, payer.purse.chain.bank.address)
            forged = sign_voucher(wallet_of("bob").key, domain, payer.purse.address, here, LANE, 3 * TOKEN)
            with pytest.raises(VoucherRefused, match="not ours"):
                await payer.lanes.adopt(forged, 0)
            other = sign_voucher(payer.session, domain, wallet_of("bob").address, here, LANE, 3 * TOKEN)
            with pytest.raises(VoucherRefused, match="not ours"):
                await payer.lanes.adopt(other, 0)
            mine = sign_voucher(payer.session, domain, payer.purse.address, here, LANE, 3 * TOKEN)
            assert await payer.lanes.adopt(mine, 10**30) == 3 * TOKEN  # a lie about what was served changes nothing
            assert (await payer.lanes.pay(here, LANE, TOKEN)).cumulative == 4 * TOKEN
            assert await payer.lanes.adopt(mine, 0) == 4 * TOKEN
            assert await payer.lanes.promised(here, LANE) == 4 * TOKEN
            second = sign_voucher(payer.session, domain, payer.purse.address, here, 6, 3 * TOKEN)
            await payer.lanes.adopt(second, 2 * TOKEN)
            assert await payer.lanes.pay(here, 6, TOKEN) == second  # the open unit's voucher comes again
