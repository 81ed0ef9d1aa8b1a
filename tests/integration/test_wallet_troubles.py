"""Transactions held up or left behind: what is shown of them, and what a restarted process makes of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import trio

from node.journal.transactions import Transactions
from tests.integration.test_wallet_transactions import pass_blocks_without
from tests.integration.test_wallet_vouchers import vault
from tests.support import spender
from tests.support.accounts import TOKEN, wallet_of
from tests.support.money import Vault, fresh_suite, open_purse, suite
from tests.support.suite import Suite

__all__ = ["fresh_suite", "suite"]

pytestmark = pytest.mark.chain

RECEIVER, KEY = spender.RECEIVER, f"{spender.KEY}:0"
CAP_GWEI = 5


async def killed(suite: Suite, folder: Path, instant: str) -> None:
    """A process that dies by SIGKILL at an instant of a payment."""
    folder.mkdir(exist_ok=True)
    arguments = [suite.anvil.rpc_url, json.dumps(suite.addresses), str(suite.deployment.chain_id), str(folder)]
    done = await trio.run_process(
        [sys.executable, "-m", "tests.support.spender", *arguments, instant], check=False, capture_stderr=True
    )
    assert done.returncode == -9


async def until_paid(suite: Suite, amount: int) -> None:
    while suite.view("token", "balanceOf", RECEIVER) < amount:
        await trio.sleep(0.02)


async def test_sent_and_not_mined_at_the_kill_it_is_waited_for(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(30):
        suite.anvil.call("evm_setAutomine", False)
        await killed(suite, tmp_path, "after_send")
        async with open_purse(suite, tmp_path, "alice") as alice, trio.open_nursery() as nursery:
            call = alice.chain.token.transfer(RECEIVER, spender.AMOUNT)
            nursery.start_soon(alice.transactor.once, KEY, call)
            await trio.sleep(0.2)  # the pool has it: nothing is to be done but to wait
            assert suite.view("token", "balanceOf", RECEIVER) == 0
            suite.anvil.call("evm_mine")
        assert suite.view("token", "balanceOf", RECEIVER) == spender.AMOUNT
        assert int(suite.anvil.call("eth_getTransactionCount", wallet_of("alice").address, "latest"), 16) == 1


@pytest.mark.parametrize("instant", ["after_journal", "after_send"])
async def test_a_nonce_used_by_another_process_after_the_kill_is_noticed(
    suite: Suite, tmp_path: Path, instant: str
) -> None:
    """Signed, perhaps sent, not mined; then the same wallet pays something else from another folder."""
    with trio.fail_after(30):
        suite.anvil.call("evm_setAutomine", False)
        await killed(suite, tmp_path / "one", instant)
        for pending in suite.anvil.call("txpool_content")["pending"].values():
            for transaction in pending.values():
                suite.anvil.call("anvil_dropTransaction", transaction["hash"])
        suite.anvil.call("evm_setAutomine", True)
        async with open_purse(suite, tmp_path / "two", "alice") as other:
            await other.transactor.once("else", other.chain.token.transfer(RECEIVER, 100))
        async with open_purse(suite, tmp_path / "one", "alice") as alice:
            await alice.transactor.once(KEY, alice.chain.token.transfer(RECEIVER, spender.AMOUNT))
            step = await Transactions(alice.journal).get(KEY)
            assert step is not None
            assert (step.state, step.nonce) == ("done", 1)
            assert len(await Transactions(alice.journal).attempts(KEY)) == 2
        assert suite.view("token", "balanceOf", RECEIVER) == 100 + spender.AMOUNT


async def test_a_step_that_waits_for_cheaper_gas_is_shown_until_it_is_sent(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with open_purse(suite, tmp_path, "alice", max_fee_gwei=CAP_GWEI) as purse:
            alice = Vault(purse, suite)
            suite.anvil.call("anvil_setNextBlockBaseFeePerGas", hex(50 * 10**9))
            suite.anvil.call("evm_mine")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(purse.transactor.once, "pay", purse.chain.token.transfer(RECEIVER, 5))
                while not purse.transactor.obstacles():
                    await trio.sleep(0.02)
                ((row,), cursor) = await alice.service.history()
                assert (row.key, row.what, row.hash, cursor) == ("pay", "token.transfer", "", None)
                assert row.state.startswith("waiting: gas costs 4")
                assert "the cap is 5.00 gwei" in purse.transactor.obstacles()["pay"]
                suite.anvil.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))
                suite.anvil.call("evm_mine")
            assert purse.transactor.obstacles() == {}
            ((row,), _) = await alice.service.history()
            assert (row.key, row.state) == ("pay", "done")


async def test_a_sent_transaction_that_stays_below_the_price_is_shown_with_the_reason(
    suite: Suite, tmp_path: Path
) -> None:
    with trio.fail_after(30):
        async with open_purse(suite, tmp_path, "alice", max_fee_gwei=CAP_GWEI) as purse:
            alice = Vault(purse, suite)
            suite.anvil.call("evm_setAutomine", False)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(purse.transactor.once, "pay", purse.chain.token.transfer(RECEIVER, 5))
                while not await Transactions(purse.journal).open(purse.address):
                    await trio.sleep(0.02)
                purse.wallet.locked = True
                await pass_blocks_without(suite, 4 * 10**9)
                while not purse.transactor.obstacles():
                    await trio.sleep(0.02)
                assert "unlock it to raise the fee" in purse.transactor.obstacles()["pay"]
                purse.wallet.locked = False
                while "the cap is 5.00 gwei" not in purse.transactor.obstacles().get("pay", ""):
                    await pass_blocks_without(suite, 6 * 10**9)
                ((row,), _) = await alice.service.history()
                assert row.state.startswith("open: not mined under the highest fee allowed")
                suite.anvil.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))
                suite.anvil.call("evm_setAutomine", True)
                suite.anvil.call("evm_mine")
            assert purse.transactor.obstacles() == {}


async def test_a_settlement_held_up_by_a_fee_spike_is_made_when_it_has_passed(suite: Suite, tmp_path: Path) -> None:
    """The voucher stays in the journal meanwhile; the exit that its payer announced takes longer than the spike."""
    with trio.fail_after(60):
        async with (
            vault(suite, tmp_path, "alice") as alice,
            open_purse(suite, tmp_path / "carol", "carol", max_fee_gwei=CAP_GWEI) as purse,
        ):
            carol = Vault(purse, suite)
            await alice.service.deposit(5 * TOKEN)
            voucher = await alice.lanes.promise(purse.address, 5, 2 * TOKEN)
            await carol.till.accept(voucher, payee=purse.address, lane=5)
            await alice.service.withdraw()
            suite.anvil.call("anvil_setNextBlockBaseFeePerGas", hex(50 * 10**9))
            suite.anvil.call("evm_mine")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(carol.settler.settle_due)
                while not purse.transactor.obstacles():
                    await trio.sleep(0.02)
                suite.anvil.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))
                suite.anvil.call("evm_mine")
            assert await carol.till.pending() == []
            assert await purse.chain.token.balance(purse.address) == 1_002 * TOKEN
