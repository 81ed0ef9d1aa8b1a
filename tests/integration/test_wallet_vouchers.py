"""Vouchers between two nodes on a real chain: deposit, pay, take, settle, leave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from contracts.bindings.bank import Item
from contracts.bindings.models import Terms
from node.journal.vouchers import Takings
from node.wallet.errors import ChainSilent, InsufficientFunds, NoCover, VoucherRefused, WalletLocked
from node.wallet.settle import Policy
from protocols.ids import Address
from protocols.voucher import sign_voucher, verify_voucher, voucher_domain
from tests.support.accounts import TOKEN
from tests.support.money import Vault, fresh_suite, open_purse, suite
from tests.support.suite import Suite

__all__ = ["fresh_suite", "suite"]

pytestmark = pytest.mark.chain

LANE = 5


@asynccontextmanager
async def vault(suite: Suite, folder: Path, name: str, **terms: object) -> AsyncIterator[Vault]:
    async with open_purse(suite, folder / name, name) as purse:
        yield Vault(purse, suite, **terms)  # type: ignore[arg-type]


async def test_our_voucher_domain_is_the_contracts(suite: Suite, tmp_path: Path) -> None:
    async with vault(suite, tmp_path, "alice") as alice:
        chain = alice.purse.chain
        assert await chain.bank.domain_separator() == voucher_domain(chain.chain_id, Address(chain.bank.address))


async def test_deposit_authorises_the_session_key_in_two_transactions(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with vault(suite, tmp_path, "alice") as alice:
            done = await alice.service.deposit(100 * TOKEN)
            balance = await alice.service.balance()
            assert done["deposited"] == balance.deposited == str(100 * TOKEN)
            assert balance.token == str(900 * TOKEN)
            assert balance.session_left == str(50 * TOKEN)
            assert await alice.purse.chain.nonce(alice.purse.address) == 2
            await alice.service.deposit(1)
            assert await alice.purse.chain.nonce(alice.purse.address) == 3


async def test_a_deposit_repeated_under_its_key_is_one_deposit(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with vault(suite, tmp_path, "alice") as alice:
            for _ in range(2):
                await alice.service.deposit(10 * TOKEN, key="mine")
            assert (await alice.service.balance()).deposited == str(10 * TOKEN)


async def test_a_deposit_beyond_the_tokens_or_of_a_locked_wallet_is_refused(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with vault(suite, tmp_path, "alice") as alice:
            with pytest.raises(InsufficientFunds, match="token"):
                await alice.service.deposit(1_001 * TOKEN)
            alice.purse.wallet.locked = True
            with pytest.raises(WalletLocked):
                await alice.service.deposit(1)
            assert await alice.purse.chain.nonce(alice.purse.address) == 0


async def test_vouchers_of_many_payers_are_settled_in_one_transaction(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with (
            vault(suite, tmp_path, "alice") as alice,
            vault(suite, tmp_path, "bob") as bob,
            vault(suite, tmp_path, "carol") as carol,
        ):
            payee = carol.purse.address
            for payer, units in ((alice, 3), (bob, 5)):
                await payer.service.deposit(10 * TOKEN)
                payer.purse.wallet.locked = True  # the session key pays
                for _ in range(units):
                    voucher = await payer.lanes.pay(payee, LANE, TOKEN)
                    assert verify_voucher(voucher, voucher_domain(31337, Address(suite.addresses["bank"])))
                    await carol.till.accept(voucher, payee=payee, lane=LANE, price_wei=TOKEN)
                    await payer.lanes.received(payee, LANE)
            assert (await carol.service.balance()).owed == str(8 * TOKEN)
            (done,) = await carol.service.settle()
            assert (done.vouchers, done.paid_wei) == (2, str(8 * TOKEN))
            assert (await carol.service.balance()).owed == "0"
            assert await carol.purse.chain.token.balance(payee) == 1_008 * TOKEN
            assert (await alice.service.balance()).promised == "0"
            assert await carol.service.settle() == []
            with pytest.raises(VoucherRefused):
                await carol.settler.settle(payee, LANE)


async def test_the_policy_settles_for_money_for_time_and_before_a_payer_leaves(suite: Suite, tmp_path: Path) -> None:
    policy = Policy(above_wei=3 * TOKEN, every_s=600)
    with trio.fail_after(60):
        async with (
            vault(suite, tmp_path, "alice") as alice,
            vault(suite, tmp_path, "carol", policy=policy) as carol,
        ):
            payee = carol.purse.address
            await alice.service.deposit(20 * TOKEN)

            async def unit() -> None:
                voucher = await alice.lanes.pay(payee, LANE, TOKEN)
                await carol.till.accept(voucher, payee=payee, lane=LANE, price_wei=TOKEN)
                await alice.lanes.received(payee, LANE)

            await unit()
            await unit()
            assert await carol.settler.settle_due() == []
            await unit()
            assert len(await carol.settler.settle_due()) == 1  # worth it
            await unit()
            assert await carol.settler.settle_due() == []
            suite.pass_time(601)
            assert len(await carol.settler.settle_due()) == 1  # long enough
            await unit()
            assert await carol.settler.settle_due() == []
            await alice.service.withdraw()
            assert len(await carol.settler.settle_due()) == 1  # the payer leaves
            assert await carol.purse.chain.token.balance(payee) == 1_005 * TOKEN


async def test_a_settlement_cut_off_by_a_crash_is_taken_up_not_repeated(suite: Suite, tmp_path: Path) -> None:
    """The settlement was mined, and the process died before it noted so."""
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "alice") as alice:
            await alice.service.deposit(20 * TOKEN)
            async with vault(suite, tmp_path, "carol") as carol:
                payee = carol.purse.address
                voucher = await alice.lanes.pay(payee, LANE, TOKEN)
                await carol.till.accept(voucher, payee=payee, lane=LANE)
                item = Item(voucher.payer, LANE, TOKEN, voucher.signature)
                call = carol.purse.chain.bank.settle(payee, [item], into_bank=False)
                await carol.purse.transactor.once("as if the journal line was lost", call)
            async with vault(suite, tmp_path, "carol") as carol:
                assert len(await Takings(carol.purse.journal).pending()) == 1
                assert await carol.service.settle() == []  # the chain says it is paid
                assert await Takings(carol.purse.journal).pending() == []
                assert await carol.purse.chain.token.balance(payee) == 1_001 * TOKEN


async def test_settling_in_an_outage_is_one_plain_error_and_the_vouchers_stay(suite: Suite, tmp_path: Path) -> None:
    assert suite.anvil.process is not None
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "alice") as alice, vault(suite, tmp_path, "carol") as carol:
            payee = carol.purse.address
            await alice.service.deposit(5 * TOKEN)
            await carol.till.accept(await alice.lanes.pay(payee, LANE, TOKEN), payee=payee, lane=LANE)
            fresh = Vault(carol.purse, suite)  # knows no snapshot yet
            frozen = carol.now()  # the clock of these tests is the chain's
            fresh.settler._clock = lambda: frozen
            carol.purse.chain.rpc._timeout_s = 0.3
            suite.anvil.process.send_signal(19)
            try:
                await trio.sleep(0.1)
                with pytest.raises(ChainSilent):
                    await fresh.settler.settle_due(force=True)
            finally:
                suite.anvil.process.send_signal(18)
                carol.purse.chain.rpc._timeout_s = 10
            assert len(await carol.service.settle()) == 1


async def test_a_locked_wallet_with_vouchers_says_so(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "alice") as alice, vault(suite, tmp_path, "carol") as carol:
            payee = carol.purse.address
            await alice.service.deposit(5 * TOKEN)
            await carol.till.accept(await alice.lanes.pay(payee, LANE, TOKEN), payee=payee, lane=LANE)
            assert await carol.service.unsettled_wei() == 0
            carol.purse.wallet.locked = True
            assert await carol.service.unsettled_wei() == TOKEN
            await carol.service.tend()
            assert await carol.service.unsettled_wei() == TOKEN
            carol.purse.wallet.locked = False
            await carol.service.settle()
            carol.purse.wallet.locked = True
            assert await carol.service.unsettled_wei() == 0


async def test_a_bounce_pays_what_is_there_and_keeps_the_rest(suite: Suite, tmp_path: Path) -> None:
    """Two payees were promised the same deposit: the second to settle gets what is left."""
    with trio.fail_after(60):
        async with (
            vault(suite, tmp_path, "alice") as alice,
            vault(suite, tmp_path, "bob") as bob,
            vault(suite, tmp_path, "carol") as carol,
        ):
            await alice.service.deposit(10 * TOKEN)
            domain = voucher_domain(31337, Address(suite.addresses["bank"]))
            for payee in (bob, carol):  # signed without a look at what was promised before
                key, who = alice.purse.wallet.key, payee.purse.address
                double = sign_voucher(key, domain, alice.purse.address, who, LANE, 8 * TOKEN)
                await payee.till.accept(double, payee=who, lane=LANE)
            await bob.service.settle()
            (done,) = await carol.service.settle()
            assert done.paid_wei == str(2 * TOKEN)
            (held,) = await carol.till.pending()
            assert held.due_wei == 6 * TOKEN
            assert await carol.service.settle() == []  # nothing to be had: no gas for nothing
            await alice.service.deposit(3 * TOKEN)
            (done,) = await carol.service.settle()
            assert done.paid_wei == str(3 * TOKEN)


async def test_a_payer_who_left_is_not_served_any_more(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "alice") as alice, vault(suite, tmp_path, "carol") as carol:
            payee = carol.purse.address
            await alice.service.deposit(5 * TOKEN)
            voucher = await alice.lanes.pay(payee, LANE, TOKEN)
            left = await alice.service.withdraw()
            assert left["state"] == "leaving"
            suite.pass_time(301)
            with pytest.raises(NoCover):
                await carol.till.accept(voucher, payee=payee, lane=LANE)
            assert (await alice.service.balance()).leaving == str(5 * TOKEN)
            await alice.service.tend()
            balance = await alice.service.balance()
            assert (balance.token, balance.deposited, balance.leaving) == (str(1_000 * TOKEN), "0", "0")


async def test_the_session_key_is_renewed_when_half_of_it_is_used(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "alice", session_ttl_s=2_000) as alice:
            await alice.service.deposit(TOKEN)
            first = await alice.purse.chain.bank.delegate(alice.purse.address, (await alice.service.balance()).session)
            assert not await alice.deposits.keep_session()
            suite.pass_time(1_001)
            assert await alice.deposits.keep_session()
            second = await alice.purse.chain.bank.delegate(alice.purse.address, (await alice.service.balance()).session)
            assert second.until > first.until + 1_000


async def test_history_names_what_was_done_and_pages(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "alice") as alice:
            await alice.service.deposit(TOKEN)
            await alice.service.withdraw(TOKEN // 2)
            await alice.service.transfer(Address("0x000000000000000000000000000000000000bEEF"), 5)
            page, cursor = await alice.service.history(3)
            assert [row.what for row in page] == ["token.transfer", "bank.startExit", "bank.setDelegate"]
            assert all(row.state == "done" and int(row.cost) > 0 for row in page)
            rest, end = await alice.service.history(3, cursor)
            assert [row.what for row in rest] == ["bank.depositWithPermit"]
            assert end is None


async def test_model_revenue_goes_from_vouchers_to_the_split(suite: Suite, tmp_path: Path) -> None:
    model = bytes(range(1, 33))
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "alice") as alice, vault(suite, tmp_path, "carol") as carol:
            models = carol.purse.chain.models
            terms = Terms(model_id=model, publisher_bps=4_000, price_per_unit_wei=TOKEN)
            call = models.publish(terms, [0], [1_000_000], b"cid")
            await carol.purse.transactor.once("publish", call)
            lane = await models.lane(model)
            assert lane == models.lane_of(model)
            payee = Address(models.address)
            await alice.service.deposit(10 * TOKEN)
            for _ in range(4):
                voucher = await alice.lanes.pay(payee, lane, TOKEN)
                await carol.till.accept(voucher, payee=payee, lane=lane, price_wei=TOKEN)
                await alice.lanes.received(payee, lane)
            (done,) = await carol.settler.settle(payee, lane)
            assert done.paid_wei == str(4 * TOKEN)
            fee = 4 * TOKEN * await models.fee_bps() // 10_000
            assert (await models.model(model)).received_wei == 4 * TOKEN - fee
            receipt = await carol.purse.transactor.once("claim", models.claim_publisher(model))
            assert models.claimed_amount(receipt) == (4 * TOKEN - fee) * 4_000 // 10_000
