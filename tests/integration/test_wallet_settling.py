"""Settlements that are cut off at every step, and settlements that a reorganisation takes back."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from contracts.bindings.bank import Item
from node.journal.transactions import Transactions
from node.wallet.errors import NoCover
from node.wallet.leaving import Leaving
from node.wallet.settle import Policy
from protocols.ids import Address
from protocols.voucher import Voucher, sign_voucher, voucher_domain
from tests.integration.test_wallet_vouchers import LANE, vault
from tests.support.accounts import TOKEN, wallet_of
from tests.support.money import Vault, fresh_suite, open_purse, suite
from tests.support.power import Cut, Power, PowerCut
from tests.support.suite import Suite

__all__ = ["fresh_suite", "suite"]

pytestmark = pytest.mark.chain

PAYERS = ("alice", "bob")
PAYEE = wallet_of("carol").address
NEVER = Policy(above_wei=10**30, every_s=10**9)


async def vouchers(suite: Suite, folder: Path, tokens: int) -> list[Voucher]:
    """One of each payer over `tokens`, from deposits of ten."""
    out = []
    for name in PAYERS:
        async with vault(suite, folder, name) as payer:
            if (await payer.service.balance()).deposited == "0":
                await payer.service.deposit(10 * TOKEN)
            out.append(await payer.lanes.promise(PAYEE, LANE, tokens * TOKEN))
    return out


async def take_and_settle(suite: Suite, folder: Path, held: list[Voucher], power: Power) -> None:
    """A payee's process from its start: take what comes, settle. It may die on the way."""
    async with open_purse(suite, folder, "carol") as purse:
        with power.over(purse):
            carol = Vault(purse, suite)
            for voucher in held:
                await carol.till.accept(voucher, payee=PAYEE, lane=LANE)
            await carol.service.settle()
            await trio.sleep(0.1)  # the watcher's last lines


async def died(suite: Suite, folder: Path, held: list[Voucher], power: Power) -> bool:
    dead = False
    try:
        await take_and_settle(suite, folder, held, power)
    except* PowerCut:
        dead = True
    return dead


async def check_books(suite: Suite, folder: Path, owed: int) -> None:
    """All is paid once, the journal says so, and no token is anywhere else."""
    async with vault(suite, folder.parent, folder.name) as carol:
        bank = carol.purse.chain.bank
        assert await carol.purse.chain.token.balance(PAYEE) == 1_000 * TOKEN + owed
        rows = await carol.till._takings.every()
        assert [row.due_wei for row in rows] == [0] * len(PAYERS)
        for row in rows:
            assert row.settled_wei == await bank.paid(row.payer, row.payee, row.lane) == row.cumulative_wei
        deposits = [(await bank.account(wallet_of(name).address)).free_wei for name in PAYERS]
        assert sum(deposits) == len(PAYERS) * 10 * TOKEN - owed
        assert await carol.purse.chain.token.balance(bank.address) == sum(deposits)
        assert await Transactions(carol.purse.journal).open(PAYEE) == []


async def test_cut_off_at_any_step_a_settlement_is_made_once(suite: Suite, tmp_path: Path) -> None:
    """Also when a newer voucher comes before the payee looks at the old settlement again."""
    with trio.fail_after(240):
        held, newer = await vouchers(suite, tmp_path, 2), await vouchers(suite, tmp_path, 3)
        whole = Power()
        mark = suite.anvil.call("evm_snapshot")
        assert not await died(suite, tmp_path / "whole" / "carol", held, whole)
        assert "eth_sendRawTransaction" in whole.steps
        assert {"Transactions.sign", "Takings.settled", "Till._take"} <= set(whole.steps), whole.steps
        cuts = [Cut(step, before) for step in range(len(whole.steps)) for before in (True, False)]
        kept: dict[str, list[int]] = {}
        for cut in cuts:
            suite.anvil.call("evm_revert", mark)
            mark = suite.anvil.call("evm_snapshot")
            folder = tmp_path / f"{cut.step}-{cut.before}" / "carol"
            folder.mkdir(parents=True)
            assert await died(suite, folder, held, Power(cut)), f"{cut} of {whole.steps} was not reached"
            # half of the payers come again with a newer voucher
            async with vault(suite, folder.parent, "carol") as carol:
                await carol.till.accept(newer[0], payee=PAYEE, lane=LANE)
                await carol.till.accept(held[1], payee=PAYEE, lane=LANE)
                await carol.service.settle()
            await check_books(suite, folder, 5 * TOKEN)
            sent = int(suite.anvil.call("eth_getTransactionCount", PAYEE, "latest"), 16)
            assert sent <= 2, f"{cut}: {sent} transactions"
            kept.setdefault(whole.steps[cut.step], []).append(sent)
        print(kept)


async def test_a_settlement_taken_back_by_a_reorganisation_is_made_again(suite: Suite, tmp_path: Path) -> None:
    """Deeper than the confirmations the node waited for: its journal said done, and says due again."""
    with trio.fail_after(60):
        held = await vouchers(suite, tmp_path, 2)
        async with vault(suite, tmp_path, "carol", policy=NEVER) as carol:
            store = Transactions(carol.purse.journal)
            for voucher in held:
                await carol.till.accept(voucher, payee=PAYEE, lane=LANE)
            (done,) = await carol.service.settle()
            suite.anvil.call("anvil_mine", hex(2))
            assert await carol.settler.settle_due() == []
            assert await carol.till.pending() == []
            suite.anvil.call("evm_setAutomine", False)
            suite.anvil.call("anvil_reorg", 3, [])
            assert await carol.purse.chain.token.balance(PAYEE) == 1_000 * TOKEN
            assert await carol.settler.settle_due() == []  # by policy it is not time; the marks have gone back
            assert sum(one.due_wei for one in await carol.till.pending()) == 4 * TOKEN
            undone = [data for topic, data in carol.events.events if data["state"] == "undone"]
            assert {data["payer"] for data in undone} == {wallet_of(name).address for name in PAYERS}
            while not await store.open(PAYEE):  # the outbox has noticed by itself
                await trio.sleep(0.05)
            suite.anvil.call("evm_setAutomine", True)
            suite.anvil.call("evm_mine")
            (again,) = await carol.service.settle()
            assert (again.hash, again.paid_wei) == (done.hash, str(4 * TOKEN))  # the same bytes, sent again
        await check_books(suite, tmp_path / "carol", 4 * TOKEN)


async def test_a_settlement_taken_back_for_good_is_made_anew(suite: Suite, tmp_path: Path) -> None:
    """After the reorganisation another process of the wallet uses the nonce."""
    with trio.fail_after(60):
        held = await vouchers(suite, tmp_path, 2)
        async with vault(suite, tmp_path, "carol") as carol:
            for voucher in held:
                await carol.till.accept(voucher, payee=PAYEE, lane=LANE)
            (done,) = await carol.service.settle()
            suite.anvil.call("evm_mine")
        suite.anvil.call("anvil_reorg", 2, [])  # while the node is away
        async with open_purse(suite, tmp_path / "elsewhere", "carol") as other:
            await other.transactor.once("else", other.chain.token.approve(suite.admin, 1))
            suite.anvil.call("evm_mine")
        async with vault(suite, tmp_path, "carol") as carol:
            store = Transactions(carol.purse.journal)
            key = await store.owner(done.hash)
            assert key is not None
            while (step := await store.get(key)) is None or step.state != "lost":
                await trio.sleep(0.05)
            (again,) = await carol.service.settle()
            assert again.hash != done.hash
        await check_books(suite, tmp_path / "carol", 4 * TOKEN)


async def test_a_settlement_that_somebody_else_brought_is_noted_and_undone_alike(suite: Suite, tmp_path: Path) -> None:
    """Anyone may bring the vouchers of a plain account: no step of our outbox tells of it."""
    with trio.fail_after(60):
        held = await vouchers(suite, tmp_path, 2)
        async with vault(suite, tmp_path, "carol", policy=NEVER) as carol:
            for voucher in held:
                await carol.till.accept(voucher, payee=PAYEE, lane=LANE)
            items = [Item(v.payer, v.lane, v.cumulative, v.signature).encoded() for v in held]
            suite.send(suite.admin, "bank", "settle", PAYEE, items, False)
            suite.anvil.call("evm_mine")
            assert await carol.service.settle() == []
            assert await carol.till.pending() == []
            suite.anvil.call("anvil_reorg", 2, [])
            await carol.settler.settle_due()
            assert sum(one.due_wei for one in await carol.till.pending()) == 4 * TOKEN
            await carol.service.settle()
        await check_books(suite, tmp_path / "carol", 4 * TOKEN)


async def test_an_announced_exit_lowers_the_cover_at_once_and_wakes_the_settler(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "alice") as alice, vault(suite, tmp_path, "carol", policy=NEVER) as carol:
            carol.cover._fresh_s = 1_000.0  # snapshots are believed for long: only the event can tell
            leaving = Leaving(carol.purse.chain, carol.cover, carol.settler, poll_s=0.05)
            await alice.service.deposit(10 * TOKEN)
            await leaving.poll()  # from here on
            await carol.settler.rest(0)
            await carol.till.accept(await alice.lanes.promise(PAYEE, LANE, 2 * TOKEN), payee=PAYEE, lane=LANE)
            await alice.service.withdraw(9 * TOKEN)
            assert carol.cover._known
            await leaving.poll()
            assert not carol.cover._known
            with trio.fail_after(1):
                await carol.settler.rest(1_000)  # woken
            assert [one.paid_wei for one in await carol.settler.settle_due()] == [str(2 * TOKEN)]
            over = sign_voucher(
                alice.purse.wallet.key,
                voucher_domain(suite.deployment.chain_id, Address(suite.addresses["bank"])),
                alice.purse.address,
                PAYEE,
                LANE,
                2 * TOKEN + 1,
            )
            with pytest.raises(NoCover):
                await carol.till.accept(over, payee=PAYEE, lane=LANE)
