"""Money steps happen once: through crashes, thieves of nonces, stuck fees, reorganisations and outages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from contracts.chain import open_chain
from contracts.errors import Reverted, RpcUnavailable, WrongChain
from contracts.values import Call
from node.identity.errors import WalletLocked
from node.journal.transactions import Transactions
from node.wallet.errors import FeesTooHigh, InsufficientFunds, KeyReused, StillPending
from tests.support import spender
from tests.support.accounts import TOKEN, wallet_of
from tests.support.money import Purse, fresh_suite, open_purse, suite
from tests.support.suite import Suite

__all__ = ["fresh_suite", "suite"]

pytestmark = pytest.mark.chain

RECEIVER = spender.RECEIVER


async def test_a_payment_is_made_and_its_receipt_decoded(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_purse(suite, tmp_path, "alice") as alice:
            receipt = await alice.transactor.once("pay:1", alice.chain.token.transfer(RECEIVER, 5))
            assert receipt.ok
            assert receipt.events("Transfer") == [{"from": alice.address, "to": RECEIVER, "value": 5}]
            assert receipt.cost_wei == 100 * TOKEN - await alice.chain.native_balance(alice.address)
            assert await alice.chain.token.balance(RECEIVER) == 5


async def test_the_same_key_pays_once_at_the_same_time_and_later(suite: Suite, tmp_path: Path) -> None:
    hashes = set()

    async def pay(purse: object) -> None:
        hashes.add((await alice.transactor.once("pay:1", alice.chain.token.transfer(RECEIVER, 5))).hash)

    with trio.fail_after(20):
        async with open_purse(suite, tmp_path, "alice") as alice, trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(pay, alice)
        async with open_purse(suite, tmp_path, "alice") as alice:  # after a restart
            await pay(alice)
            assert await alice.chain.token.balance(RECEIVER) == 5
    assert len(hashes) == 1


async def test_twenty_payments_at_once_take_twenty_nonces(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with open_purse(suite, tmp_path, "alice") as alice:
            async with trio.open_nursery() as nursery:
                for place in range(20):
                    call = alice.chain.token.transfer(RECEIVER, 1)
                    nursery.start_soon(alice.transactor.once, f"pay:{place}", call)
            assert await alice.chain.token.balance(RECEIVER) == 20
            assert await alice.chain.nonce(alice.address) == 20


async def test_payments_that_wait_together_have_nonces_in_a_row(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with open_purse(suite, tmp_path, "alice") as alice:
            suite.anvil.call("evm_setAutomine", False)
            store = Transactions(alice.journal)
            async with trio.open_nursery() as nursery:
                for place in range(3):
                    nursery.start_soon(alice.transactor.once, f"pay:{place}", alice.chain.token.transfer(RECEIVER, 1))
                while len(await store.open(alice.address)) < 3:
                    await trio.sleep(0.01)
                assert [step.nonce for step in await store.open(alice.address)] == [0, 1, 2]
                suite.anvil.call("evm_mine")


@pytest.mark.parametrize("instant", spender.INSTANTS)
def test_killed_at_any_instant_the_payment_is_made_once(suite: Suite, tmp_path: Path, instant: str) -> None:
    arguments = [suite.anvil.rpc_url, json.dumps(suite.addresses), str(suite.deployment.chain_id), str(tmp_path)]
    command = [sys.executable, "-m", "tests.support.spender", *arguments]
    killed = subprocess.run([*command, instant], capture_output=True, timeout=60)
    assert killed.returncode == -9, killed.stderr.decode()
    again = subprocess.run([*command, ""], capture_output=True, timeout=60)
    assert again.returncode == 0, again.stderr.decode()
    assert suite.view("token", "balanceOf", RECEIVER) == spender.AMOUNT
    assert int(suite.anvil.call("eth_getTransactionCount", wallet_of("alice").address, "latest"), 16) == 1


async def test_what_was_journalled_and_never_sent_is_sent_after_a_restart_unasked(suite: Suite, tmp_path: Path) -> None:
    arguments = [suite.anvil.rpc_url, json.dumps(suite.addresses), str(suite.deployment.chain_id), str(tmp_path)]
    command = [sys.executable, "-m", "tests.support.spender", *arguments, "after_journal"]
    await trio.run_process(command, check=False, capture_stderr=True)
    assert suite.view("token", "balanceOf", RECEIVER) == 0
    with trio.fail_after(20):
        async with open_purse(suite, tmp_path, "alice") as alice:
            while await alice.chain.token.balance(RECEIVER) == 0:
                await trio.sleep(0.02)


async def test_a_new_payment_queues_behind_one_that_was_journalled_and_never_sent(suite: Suite, tmp_path: Path) -> None:
    arguments = [suite.anvil.rpc_url, json.dumps(suite.addresses), str(suite.deployment.chain_id), str(tmp_path)]
    command = [sys.executable, "-m", "tests.support.spender", *arguments, "after_journal"]
    await trio.run_process(command, check=False, capture_stderr=True)
    suite.anvil.call("evm_setAutomine", False)
    with trio.fail_after(20):
        async with open_purse(suite, tmp_path, "alice") as alice, trio.open_nursery() as nursery:
            nursery.start_soon(alice.transactor.once, "pay:2", alice.chain.token.transfer(RECEIVER, 1))
            while len(steps := await Transactions(alice.journal).open(alice.address)) < 2:
                await trio.sleep(0.01)
            assert [step.nonce for step in steps] == [0, 1]
            suite.anvil.call("evm_setAutomine", True)
            suite.anvil.call("evm_mine")
    assert suite.view("token", "balanceOf", RECEIVER) == spender.AMOUNT + 1


async def test_a_refusal_surfaces_by_its_name_before_a_nonce_is_spent(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_purse(suite, tmp_path, "alice") as alice:
            with pytest.raises(Reverted) as caught:
                await alice.transactor.once("exit", alice.chain.bank.finish_exit())
            assert caught.value.name == "ExitNotReady"
            assert await alice.chain.nonce(alice.address) == 0
            assert await Transactions(alice.journal).get("exit") is None


async def test_a_refusal_that_comes_after_the_estimate_costs_gas_and_may_be_tried_again(
    suite: Suite, tmp_path: Path
) -> None:
    """Somebody with an allowance empties the account in the same block, ahead of us by his tip."""
    with trio.fail_after(20):
        async with open_purse(suite, tmp_path, "alice") as alice:
            pay = alice.chain.token.transfer(RECEIVER, 1_000 * TOKEN)
            await alice.transactor.once("allow", alice.chain.token.approve(suite.admin, 1_000 * TOKEN))
            suite.anvil.call("evm_setAutomine", False)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(refused_with, "ERC20InsufficientBalance", alice, pay)
                while not await Transactions(alice.journal).open(alice.address):
                    await trio.sleep(0.01)
                take = suite.abis["token"].encode("transferFrom", alice.address, suite.admin, 1_000 * TOKEN)
                request = {"from": suite.admin, "to": suite.addresses["token"], "data": "0x" + take.hex()}
                suite.anvil.call("eth_sendTransaction", {**request, "gas": hex(100_000), "gasPrice": hex(10**12)})
                suite.anvil.call("evm_mine")
            suite.anvil.call("evm_setAutomine", True)
            suite.send(suite.admin, "token", "transfer", alice.address, 1_000 * TOKEN)
            await alice.transactor.once("pay", pay)
            assert await alice.chain.token.balance(RECEIVER) == 1_000 * TOKEN


async def refused_with(name: str, purse: Purse, call: Call) -> None:
    with pytest.raises(Reverted) as caught:
        await purse.transactor.once("pay", call)
    assert caught.value.name == name
    assert caught.value.transaction


async def test_a_nonce_taken_by_another_process_is_replaced(suite: Suite, tmp_path: Path) -> None:
    """Two journals, one wallet: the second process signs before it can see the first one's transaction."""
    with trio.fail_after(20):
        async with (
            open_purse(suite, tmp_path / "one", "alice") as one,
            open_purse(suite, tmp_path / "two", "alice") as two,
        ):
            suite.anvil.call("evm_setAutomine", False)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.transactor.once, "pay:one", one.chain.token.transfer(RECEIVER, 1))
                while not (journalled := await Transactions(one.journal).open(one.address)):
                    await trio.sleep(0.01)
                (attempt,) = await Transactions(one.journal).attempts("pay:one")
                while not await one.chain.knows(attempt.hash):
                    await trio.sleep(0.01)
                suite.anvil.call("anvil_dropTransaction", attempt.hash)
                nursery.start_soon(two.transactor.once, "pay:two", two.chain.token.transfer(RECEIVER, 10))
                while not await Transactions(two.journal).open(two.address):
                    await trio.sleep(0.01)
                suite.anvil.call("evm_setAutomine", True)
                suite.anvil.call("evm_mine")
            assert await one.chain.token.balance(RECEIVER) == 11
            assert journalled[0].nonce == 0
            nonces = {
                purse: (await Transactions(purse.journal).get(key)).nonce  # type: ignore[union-attr]
                for purse, key in ((one, "pay:one"), (two, "pay:two"))
            }
            assert sorted(nonces.values()) == [0, 1]


async def test_a_stuck_transaction_gets_a_higher_fee_under_its_nonce(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with open_purse(suite, tmp_path, "alice") as alice:
            suite.anvil.call("evm_setAutomine", False)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice.transactor.once, "pay", alice.chain.token.transfer(RECEIVER, 5))
                store = Transactions(alice.journal)
                while not await store.attempts("pay"):
                    await trio.sleep(0.01)
                first = (await store.attempts("pay"))[0]
                # the base fee rises above what was signed: blocks pass without it
                while len(await store.attempts("pay")) < 2:
                    suite.anvil.call("anvil_setNextBlockBaseFeePerGas", hex(int(first.max_fee_wei) + 1))
                    suite.anvil.call("evm_mine")
                    await trio.sleep(0.05)
                second = (await store.attempts("pay"))[1]
                suite.anvil.call("evm_setAutomine", True)
                suite.anvil.call("evm_mine")
            assert second.nonce == first.nonce
            assert int(second.max_fee_wei) >= int(first.max_fee_wei) * 9 // 8
            assert await alice.chain.token.balance(RECEIVER) == 5
            step = await store.get("pay")
            assert step is not None
            assert step.state == "done"
            assert step.hash == second.hash


async def test_a_stuck_transaction_keeps_its_fee_at_the_cap_and_while_the_wallet_is_locked(
    suite: Suite, tmp_path: Path
) -> None:
    with trio.fail_after(30):
        async with open_purse(suite, tmp_path, "alice", max_fee_gwei=5) as alice:
            suite.anvil.call("evm_setAutomine", False)
            store = Transactions(alice.journal)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice.transactor.once, "pay", alice.chain.token.transfer(RECEIVER, 5))
                while not (attempts := await store.attempts("pay")):
                    await trio.sleep(0.01)
                alice.wallet.locked = True
                await pass_blocks_without(suite, int(attempts[0].max_fee_wei) + 1)
                assert len(await store.attempts("pay")) == 1
                alice.wallet.locked = False
                while (newest := (await store.attempts("pay"))[-1]) and int(newest.max_fee_wei) * 9 // 8 < 5 * 10**9:
                    await pass_blocks_without(suite, int(newest.max_fee_wei) + 1)
                before = len(await store.attempts("pay"))
                await pass_blocks_without(suite, 6 * 10**9)
                assert len(await store.attempts("pay")) == before
                assert int(newest.max_fee_wei) <= 5 * 10**9
                suite.anvil.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))
                suite.anvil.call("evm_setAutomine", True)
                suite.anvil.call("evm_mine")
            assert await alice.chain.token.balance(RECEIVER) == 5


async def pass_blocks_without(suite: Suite, base_fee_wei: int) -> None:
    """Blocks too dear for our transaction, enough of them for it to count as stuck."""
    for _ in range(10):
        suite.anvil.call("anvil_setNextBlockBaseFeePerGas", hex(base_fee_wei))
        suite.anvil.call("evm_mine")
    await trio.sleep(0.2)


async def test_a_dropped_transaction_is_sent_again(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_purse(suite, tmp_path, "alice") as alice:
            suite.anvil.call("evm_setAutomine", False)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice.transactor.once, "pay", alice.chain.token.transfer(RECEIVER, 5))
                while not (attempts := await Transactions(alice.journal).attempts("pay")):
                    await trio.sleep(0.01)
                while not await alice.chain.knows(attempts[0].hash):
                    await trio.sleep(0.01)
                suite.anvil.call("anvil_dropTransaction", attempts[0].hash)
                assert not await alice.chain.knows(attempts[0].hash)
                while not await alice.chain.knows(attempts[0].hash):
                    await trio.sleep(0.01)
                suite.anvil.call("evm_mine")
            assert await alice.chain.token.balance(RECEIVER) == 5


async def test_confirmations_are_waited_for_and_a_reorganisation_does_not_pay_twice(
    suite: Suite, tmp_path: Path
) -> None:
    with trio.fail_after(30):
        async with open_purse(suite, tmp_path, "alice", confirmations=4) as alice:
            done = trio.Event()

            async def pay() -> None:
                await alice.transactor.once("pay", alice.chain.token.transfer(RECEIVER, 5))
                done.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(pay)
                while suite.view("token", "balanceOf", RECEIVER) == 0:
                    await trio.sleep(0.01)
                suite.anvil.call("anvil_mine", hex(2))
                await trio.sleep(0.3)
                assert not done.is_set()
                suite.anvil.call("anvil_reorg", 3, [])  # the payment's block is gone, and it with it
                assert suite.view("token", "balanceOf", RECEIVER) == 0
                while not done.is_set():
                    suite.anvil.call("evm_mine")
                    await trio.sleep(0.05)
            assert await alice.chain.token.balance(RECEIVER) == 5
            assert await alice.chain.nonce(alice.address) == 1


async def test_too_little_gas_money_is_said_with_amounts(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_purse(suite, tmp_path, "alice") as alice:
            suite.anvil.call("anvil_setBalance", alice.address, hex(1000))
            with pytest.raises(InsufficientFunds, match="native balance is 1000 wei") as caught:
                await alice.transactor.once("pay", alice.chain.token.transfer(RECEIVER, 5))
            assert caught.value.what == "native"
            assert caught.value.need > 1000
            with pytest.raises(InsufficientFunds, match="native"):
                await alice.transactor.once("send", Call(RECEIVER, b"", TOKEN))


async def test_too_few_tokens_are_said_with_amounts(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_purse(suite, tmp_path, "alice") as alice:
            with pytest.raises(InsufficientFunds) as caught:
                await alice.transactor.once("pay", alice.chain.token.transfer(RECEIVER, 2_000 * TOKEN))
            assert (caught.value.what, caught.value.have, caught.value.need) == ("token", 1_000 * TOKEN, 2_000 * TOKEN)


async def test_fees_over_the_cap_are_waited_out_and_then_named(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_purse(suite, tmp_path, "alice", max_fee_gwei=5) as alice:
            suite.anvil.call("anvil_setNextBlockBaseFeePerGas", hex(50 * 10**9))
            suite.anvil.call("evm_mine")
            with pytest.raises(FeesTooHigh, match="the cap is 5"):
                await alice.transactor.once("pay", alice.chain.token.transfer(RECEIVER, 5), timeout_s=0.5)
            assert await Transactions(alice.journal).get("pay") is None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice.transactor.once, "pay", alice.chain.token.transfer(RECEIVER, 5))
                await trio.sleep(0.2)
                suite.anvil.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))
                suite.anvil.call("evm_mine")
            assert await alice.chain.token.balance(RECEIVER) == 5


async def test_a_locked_wallet_sends_nothing(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_purse(suite, tmp_path, "alice") as alice:
            alice.wallet.locked = True
            with pytest.raises(WalletLocked):
                alice.transactor.require_unlocked()
            with pytest.raises(WalletLocked):
                await alice.transactor.once("pay", alice.chain.token.transfer(RECEIVER, 5))
            assert await Transactions(alice.journal).get("pay") is None


async def test_one_key_for_two_things_is_a_bug_and_said_so(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_purse(suite, tmp_path, "alice") as alice:
            await alice.transactor.once("step", alice.chain.token.transfer(RECEIVER, 5))
            with pytest.raises(KeyReused):
                await alice.transactor.once("step", alice.chain.token.burn(5))
            # a price that moved before a restart: what was sent counts
            receipt = await alice.transactor.once("step", alice.chain.token.transfer(RECEIVER, 6))
            assert receipt.events("Transfer")[0]["value"] == 5


async def test_an_outage_is_waited_out(suite: Suite, tmp_path: Path) -> None:
    """SIGSTOP is an endpoint that takes connections and does not answer."""
    assert suite.anvil.process is not None
    with trio.fail_after(60):
        async with open_purse(suite, tmp_path, "alice") as alice:
            suite.anvil.call("evm_setAutomine", False)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice.transactor.once, "pay", alice.chain.token.transfer(RECEIVER, 5))
                while not await Transactions(alice.journal).open(alice.address):
                    await trio.sleep(0.01)
                suite.anvil.process.send_signal(19)
                try:
                    await trio.sleep(0.1)  # the signal takes its time
                    with pytest.raises(RpcUnavailable):
                        await alice.chain.rpc.call("eth_blockNumber", timeout_s=0.2)
                finally:
                    suite.anvil.process.send_signal(18)
                suite.anvil.call("evm_mine")
            suite.anvil.call("evm_setAutomine", True)
            assert await alice.chain.token.balance(RECEIVER) == 5


async def test_a_payment_that_takes_too_long_is_reported_and_goes_on(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_purse(suite, tmp_path, "alice") as alice:
            suite.anvil.call("evm_setAutomine", False)
            call = alice.chain.token.transfer(RECEIVER, 5)
            with pytest.raises(StillPending):
                await alice.transactor.once("pay", call, timeout_s=0.3)
            suite.anvil.call("evm_setAutomine", True)
            suite.anvil.call("evm_mine")
            await alice.transactor.once("pay", call)
            assert await alice.chain.token.balance(RECEIVER) == 5


async def test_a_wrong_chain_is_refused_at_the_door(suite: Suite) -> None:
    with trio.fail_after(10):
        with pytest.raises(WrongChain, match="this network is chain 5"):
            async with open_chain(suite.anvil.rpc_url, suite.addresses, 5):
                pass
        with pytest.raises(WrongChain, match="no code at the addresses of bank"):
            async with open_chain(suite.anvil.rpc_url, {**suite.addresses, "bank": RECEIVER}, 31337):
                pass


async def test_an_allowance_is_given_once(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_purse(suite, tmp_path, "alice") as alice:
            for _ in range(3):
                await alice.transactor.allow(alice.chain.bank.address, 5 * TOKEN)
            assert await alice.chain.nonce(alice.address) == 1
            await alice.transactor.once("revoke", alice.chain.token.approve(alice.chain.bank.address, 0))
            await alice.transactor.allow(alice.chain.bank.address, 5 * TOKEN)
            assert await alice.chain.token.allowance(alice.address, alice.chain.bank.address) >= 5 * TOKEN
