"""Hard cover on a real bank: reserved, served beyond the soft limit, settled before it ends, given back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from contracts.bindings.bank import Item
from node.wallet.cover import END_MARGIN_S
from node.wallet.errors import InsufficientFunds, NoCover, WalletError
from node.wallet.settle import GAS_BATCH, GAS_ITEM, LEAVING_MARGIN_S, Policy
from protocols.errors import BadIdentifier
from protocols.ids import Address
from protocols.voucher import sign_voucher, voucher_domain
from tests.integration.test_wallet_vouchers import LANE, vault
from tests.support.accounts import TOKEN, wallet_of
from tests.support.money import fresh_suite, suite
from tests.support.suite import Suite

__all__ = ["fresh_suite", "suite"]

pytestmark = pytest.mark.chain

NEVER = Policy(above_wei=10**30, every_s=10**9)


async def test_a_reserve_lets_a_payer_owe_more_than_the_soft_limit(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with (
            vault(suite, tmp_path, "alice") as alice,
            vault(suite, tmp_path, "carol", soft_limit_wei=2 * TOKEN) as carol,
        ):
            payee = carol.purse.address
            await alice.service.deposit(100 * TOKEN)
            await carol.till.accept(await alice.lanes.promise(payee, LANE, 2 * TOKEN), payee=payee, lane=LANE)
            with pytest.raises(NoCover, match="reserve for this lane"):
                await carol.till.accept(await alice.lanes.promise(payee, LANE, 3 * TOKEN), payee=payee, lane=LANE)
            until = alice.now() + 30_000
            done = await alice.service.reserve(payee, LANE, 20 * TOKEN, until)
            assert (done["reserved"], done["lane"]) == (str(20 * TOKEN), str(LANE))
            assert datetime.fromisoformat(done["until"]) == datetime.fromtimestamp(until, UTC)
            await carol.till.accept(await alice.lanes.promise(payee, LANE, 22 * TOKEN), payee=payee, lane=LANE)
            with pytest.raises(NoCover):
                await carol.till.accept(await alice.lanes.promise(payee, LANE, 23 * TOKEN), payee=payee, lane=LANE)
            balance = await alice.service.balance()
            assert (balance.deposited, balance.reserved) == (str(80 * TOKEN), str(20 * TOKEN))
            (row,) = await alice.service.lanes()
            assert (row.side, row.reserved, row.settled) == ("pay", str(20 * TOKEN), "0")
            (done_,) = await carol.service.settle()
            assert done_.paid_wei == str(22 * TOKEN)


async def test_a_reserve_is_settled_before_it_ends_and_what_is_left_goes_back(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with (
            vault(suite, tmp_path, "alice") as alice,
            vault(suite, tmp_path, "carol", policy=NEVER, soft_limit_wei=0) as carol,
        ):
            payee = carol.purse.address
            await alice.service.deposit(20 * TOKEN)
            await alice.service.reserve(payee, LANE, 10 * TOKEN, alice.now() + 30_000)
            await carol.till.accept(await alice.lanes.promise(payee, LANE, 3 * TOKEN), payee=payee, lane=LANE)
            assert await carol.settler.settle_due() == []
            suite.pass_time(30_000 - LEAVING_MARGIN_S)
            assert [one.paid_wei for one in await carol.settler.settle_due()] == [str(3 * TOKEN)]
            await carol.till.accept(await alice.lanes.promise(payee, LANE, 4 * TOKEN), payee=payee, lane=LANE)
            assert await carol.settler.settle_due() == []  # the announcement counts once
            suite.pass_time(LEAVING_MARGIN_S - END_MARGIN_S)
            assert [one.paid_wei for one in await carol.settler.settle_due()] == [str(TOKEN)]
            with pytest.raises(WalletError, match="it is reserved until"):
                await alice.service.release(payee, LANE)
            suite.pass_time(END_MARGIN_S)
            await alice.service.release(payee, LANE)
            assert (await alice.service.balance()).deposited == str(16 * TOKEN)


async def test_a_reserve_names_a_model_or_an_account_and_fits_the_deposit(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "alice") as alice:
            await alice.service.deposit(2 * TOKEN)
            model = "ab" * 32
            done = await alice.service.reserve(model, None, TOKEN, alice.now() + 1_000)
            assert (done["payee"], done["lane"]) == (suite.addresses["models"], str(int("ab" * 8, 16)))
            (row,) = await alice.service.lanes()  # nothing was paid there yet
            assert (row.cumulative, row.reserved, row.at) == ("0", str(TOKEN), None)
            with pytest.raises(InsufficientFunds, match="deposit"):
                await alice.service.reserve(model, None, 2 * TOKEN, alice.now() + 1_000)
            with pytest.raises(WalletError, match="an end in the future"):
                await alice.service.reserve(model, None, TOKEN, alice.now())
            for payee, lane in (("bob", None), (model, 3), (suite.admin, 2**64)):
                with pytest.raises(BadIdentifier):
                    await alice.service.reserve(payee, lane, TOKEN, alice.now() + 1_000)


async def test_a_capped_keys_voucher_is_worth_nothing_once_its_cap_is_used_up_elsewhere(
    suite: Suite, tmp_path: Path
) -> None:
    """The reason why it is no hard cover: the reserve is full, and the bank pays nothing of it."""
    with trio.fail_after(60):
        async with (
            vault(suite, tmp_path, "alice", session_cap_wei=3 * TOKEN) as alice,
            vault(suite, tmp_path, "carol", soft_limit_wei=0) as carol,
        ):
            payee, domain = carol.purse.address, voucher_domain(31337, Address(suite.addresses["bank"]))
            await alice.service.deposit(20 * TOKEN)
            await alice.service.reserve(payee, LANE, 10 * TOKEN, alice.now() + 30_000)
            capped = sign_voucher(alice.session, domain, alice.purse.address, payee, LANE, 2 * TOKEN)
            with pytest.raises(NoCover, match="without hard cover"):
                await carol.till.accept(capped, payee=payee, lane=LANE)
            friend = wallet_of("dave").address
            other = sign_voucher(alice.session, domain, alice.purse.address, friend, LANE, 3 * TOKEN)
            for voucher, paid in ((other, 3 * TOKEN), (capped, 0)):
                item = Item(voucher.payer, LANE, voucher.cumulative, voucher.signature).encoded()
                suite.send(suite.admin, "bank", "settle", voucher.payee, [item], False)
                assert suite.view("bank", "lanes", voucher.payer, voucher.payee, LANE)[0] == paid
            own = await alice.lanes.promise(payee, LANE, 2 * TOKEN)  # our own node signs such a lane with the wallet
            await carol.till.accept(own, payee=payee, lane=LANE)
            assert [one.paid_wei for one in await carol.service.settle()] == [str(2 * TOKEN)]


@pytest.mark.parametrize("payers", [1, 2, 3])
async def test_the_gas_that_settling_is_weighed_with_is_about_what_it_takes(
    suite: Suite, tmp_path: Path, payers: int
) -> None:
    async with vault(suite, tmp_path, "carol") as carol:
        payee = carol.purse.address
        for name in ("alice", "bob", "dave")[:payers]:
            async with vault(suite, tmp_path, name) as payer:
                await payer.service.deposit(10 * TOKEN)
                await carol.till.accept(await payer.lanes.promise(payee, LANE, TOKEN), payee=payee, lane=LANE)
        (first,) = await carol.service.settle()
        for name in ("alice", "bob", "dave")[:payers]:
            async with vault(suite, tmp_path, name) as payer:
                await carol.till.accept(await payer.lanes.promise(payee, LANE, 2 * TOKEN), payee=payee, lane=LANE)
        (again,) = await carol.service.settle()
        print(f"{payers} payers: first {first.gas}, again {again.gas}")
        weighed = GAS_BATCH + payers * GAS_ITEM
        assert again.gas <= weighed <= 2 * again.gas
