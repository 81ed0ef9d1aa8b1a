"""Payers that are contracts, with real bytecode: the till says yes exactly when the bank will."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import coincurve
import pytest
import trio

from contracts.bindings.bank import Item
from node.wallet import erc1271
from node.wallet.errors import NoCover
from protocols.errors import BadSignature
from protocols.ids import Address
from protocols.voucher import Voucher, sign_voucher, voucher_domain
from tests.integration.test_wallet_vouchers import LANE, vault
from tests.support import contract_wallet
from tests.support.accounts import TOKEN, wallet_of
from tests.support.contract_wallet import BURNER, DUMP, OWNED, REVERTER, SHORT, YES, lay, set_owner
from tests.support.money import Vault, fresh_suite, suite
from tests.support.suite import Suite

__all__ = ["fresh_suite", "suite"]

pytestmark = pytest.mark.chain

OWNER, STRANGER = wallet_of("alice"), wallet_of("bob")


def fund(suite: Suite, payer: Address, tokens: int = 10) -> None:
    """Anybody may deposit for anybody."""
    suite.give(suite.admin, 0, "bank")
    suite.send(suite.admin, "bank", "deposit", payer, tokens * TOKEN)


def signed(suite: Suite, payer: Address, payee: Address, sum_wei: int, key: coincurve.PrivateKey) -> Voucher:
    domain = voucher_domain(suite.deployment.chain_id, Address(suite.addresses["bank"]))
    return sign_voucher(key, domain, payer, payee, LANE, sum_wei)


async def bank_pays(carol: Vault, voucher: Voucher) -> bool:
    item = Item(voucher.payer, voucher.lane, voucher.cumulative, voucher.signature)
    call = carol.purse.chain.bank.settle(voucher.payee, [item], into_bank=False)
    return int.from_bytes(await carol.purse.chain.simulate(call, voucher.payee), "big") > 0


async def test_a_contract_wallet_pays_by_its_owners_signature(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "carol") as carol:
            payee = carol.purse.address
            wallet = lay(suite, 1, OWNED, OWNER.address)
            fund(suite, wallet)
            voucher = signed(suite, wallet, payee, 3 * TOKEN, OWNER.key)
            assert await carol.till.accept(voucher, payee=payee, lane=LANE, price_wei=TOKEN) == 3 * TOKEN
            with pytest.raises(NoCover, match="may not sign"):
                await carol.till.accept(signed(suite, wallet, payee, 4 * TOKEN, STRANGER.key), payee=payee, lane=LANE)
            (done,) = await carol.service.settle()
            assert done.paid_wei == str(3 * TOKEN)
            assert await carol.purse.chain.token.balance(payee) == 1_003 * TOKEN


async def test_a_wallet_that_changed_hands_is_asked_again_before_settling(suite: Suite, tmp_path: Path) -> None:
    """Its new owner voids what the old one signed: the payee loses it, within the soft limit, and no gas besides."""
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "carol", soft_limit_wei=2 * TOKEN) as carol:
            payee = carol.purse.address
            wallet = lay(suite, 2, OWNED, OWNER.address)
            fund(suite, wallet)
            await carol.till.accept(signed(suite, wallet, payee, 2 * TOKEN, OWNER.key), payee=payee, lane=LANE)
            set_owner(suite, wallet, STRANGER.address)
            assert await carol.service.settle() == []
            assert await carol.purse.chain.nonce(payee) == 0
            with pytest.raises(NoCover):
                await carol.till.accept(signed(suite, wallet, payee, 3 * TOKEN, STRANGER.key), payee=payee, lane=LANE)
            # the new owner takes over what is owed by signing anew, or the old one comes back
            set_owner(suite, wallet, OWNER.address)
            assert [one.paid_wei for one in await carol.service.settle()] == [str(2 * TOKEN)]


async def test_a_bad_wallet_in_a_batch_costs_the_others_nothing(suite: Suite, tmp_path: Path) -> None:
    """It turns bad between the last look and the transaction: the bank bounds its gas and skips it."""
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "dave") as dave, vault(suite, tmp_path, "carol") as carol:
            payee = carol.purse.address
            wallet = lay(suite, 3, OWNED, OWNER.address)
            fund(suite, wallet)
            await dave.service.deposit(5 * TOKEN)
            voucher = signed(suite, wallet, payee, 2 * TOKEN, OWNER.key)
            await carol.till.accept(voucher, payee=payee, lane=LANE)
            await carol.till.accept(await dave.lanes.promise(payee, LANE, TOKEN), payee=payee, lane=LANE)

            async def trusting(*_: object) -> bool:
                lay(suite, 3, BURNER)
                return True

            carol.contracts.signed = trusting  # type: ignore[method-assign]
            (done,) = await carol.service.settle()
            assert (done.vouchers, done.paid_wei) == (1, str(TOKEN))
            assert done.gas < 400_000
            assert [one.due_wei for one in await carol.till.pending()] == [2 * TOKEN]


@pytest.mark.parametrize(
    ("code", "pays"),
    [
        (lambda _: OWNED, True),
        (lambda _: YES, True),
        (lambda _: DUMP, True),
        (lambda _: BURNER, False),
        (lambda _: REVERTER, False),
        (lambda _: SHORT, False),
        (contract_wallet.false_friend, False),
        (lambda _: b"\xef", False),
    ],
    ids=["owned", "yes", "dump", "burner", "reverter", "short", "false friend", "no opcode"],
)
async def test_till_and_bank_agree_about_any_bytecode(
    suite: Suite, tmp_path: Path, code: Callable[[Suite], bytes], pays: bool
) -> None:
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "carol") as carol:
            payee = carol.purse.address
            wallet = lay(suite, 4, code(suite), OWNER.address)
            fund(suite, wallet)
            voucher = signed(suite, wallet, payee, TOKEN, OWNER.key)
            assert await bank_pays(carol, voucher) == pays
            try:
                taken = await carol.till.accept(voucher, payee=payee, lane=LANE) == TOKEN
            except (NoCover, BadSignature):
                taken = False
            assert taken == pays


async def test_asking_costs_the_endpoint_no_more_than_the_bank_allows(suite: Suite, tmp_path: Path) -> None:
    """What a wallet may use of the question's gas is the bank's bound, within what a call costs by itself."""
    with trio.fail_after(60):
        async with vault(suite, tmp_path, "carol") as carol:
            assert erc1271.CALL_GAS - erc1271.GAS < 25_000
            source = Path("contracts/src/VoucherBank.sol").read_text()
            assert f"ERC1271_GAS = {erc1271.GAS:_}" in source
            wallet = lay(suite, 5, BURNER)
            assert not await carol.contracts.signed(wallet, carol.purse.address, LANE, 1, b"\1" * 64)
