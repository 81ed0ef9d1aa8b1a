"""The payee takes only what is signed, raises its lane, and is covered."""

from __future__ import annotations

import coincurve
import msgspec
import pytest
import trio
import trio.testing

from contracts.bindings.bank import MAX_UINT96, Delegate, Lane
from node.wallet.cover import END_MARGIN_S, Cover
from node.wallet.erc1271 import MAGIC, ContractPayers
from node.wallet.errors import ChainSilent, NoCover, VoucherRefused
from protocols import eip712
from protocols.errors import BadIdentifier, BadSignature
from protocols.ids import Address
from protocols.voucher import Voucher, sign_voucher, voucher_domain
from tests.unit.wallet.conftest import CHAIN_ID, HOT, LANE, NOW, PAYEE, SESSION, World

MALLORY = coincurve.PrivateKey(b"\x66" * 32)


async def test_a_covered_voucher_is_taken_and_kept_over_a_restart(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    assert await world.till().accept(world.voucher(60), payee=PAYEE, lane=LANE) == 60
    assert await world.till().accept(world.voucher(100), payee=PAYEE, lane=LANE, price_wei=40) == 100
    (held,) = await world.till().pending()
    assert (held.cumulative_wei, held.due_wei, held.since) == (100, 100, NOW)
    assert held.signature == world.voucher(100).signature


async def test_the_newest_voucher_may_come_again_and_an_older_one_may_not(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    till = world.till()
    await till.accept(world.voucher(60), payee=PAYEE, lane=LANE)
    assert await till.accept(world.voucher(60), payee=PAYEE, lane=LANE) == 60
    with pytest.raises(VoucherRefused, match="stands at 60"):
        await till.accept(world.voucher(59), payee=PAYEE, lane=LANE)
    with pytest.raises(VoucherRefused, match="does not pay 10"):
        await till.accept(world.voucher(60), payee=PAYEE, lane=LANE, price_wei=10)


async def test_one_voucher_brought_many_times_at_once_pays_for_one_unit(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    till, outcome = world.till(), []

    async def bring() -> None:
        try:
            outcome.append(await till.accept(world.voucher(10), payee=PAYEE, lane=LANE, price_wei=10))
        except VoucherRefused:
            outcome.append(0)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(bring)
    assert sorted(outcome) == [0] * 9 + [10]


async def test_a_stranger_cannot_bring_the_newest_sum_under_his_own_signature(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    till = world.till()
    await till.accept(world.voucher(60), payee=PAYEE, lane=LANE)
    with pytest.raises(VoucherRefused, match="did not sign"):
        await till.accept(world.voucher(60, key=MALLORY), payee=PAYEE, lane=LANE)


@pytest.mark.parametrize("sum_wei", [61, 100])
async def test_a_forged_voucher_is_refused(world: World, sum_wei: int) -> None:
    world.bank.free[world.payer.address] = 100
    with pytest.raises(NoCover, match="may not sign"):
        await world.till().accept(world.voucher(sum_wei, key=MALLORY), payee=PAYEE, lane=LANE)
    assert await world.till().pending() == []


async def test_a_voucher_of_another_chain_or_bank_is_refused(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    for domain in (voucher_domain(1, Address(world.bank.address)), voucher_domain(CHAIN_ID, PAYEE)):
        foreign = sign_voucher(world.payer.key, domain, world.payer.address, PAYEE, LANE, 10)
        with pytest.raises((NoCover, BadSignature)):
            await world.till().accept(foreign, payee=PAYEE, lane=LANE)


async def test_a_voucher_for_another_payee_or_lane_is_refused(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    for payee, lane in ((Address(world.bank.address), LANE), (PAYEE, 7)):
        with pytest.raises(VoucherRefused, match="not"):
            await world.till().accept(world.voucher(10), payee=payee, lane=lane)


async def test_another_spelling_of_the_payer_opens_no_second_account(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    lower = msgspec.structs.replace(world.voucher(10), payer=world.payer.address.lower())
    with pytest.raises(VoucherRefused, match="checksum"):
        await world.till().accept(lower, payee=PAYEE, lane=LANE)
    wrong = msgspec.structs.replace(world.voucher(10), payer=world.payer.address.swapcase().replace("X", "x"))
    with pytest.raises(BadIdentifier):
        await world.till().accept(wrong, payee=PAYEE, lane=LANE)


async def test_what_the_deposit_does_not_cover_is_refused_over_all_lanes_together(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    till = world.till()
    await till.accept(world.voucher(70, lane=1), payee=PAYEE, lane=1)
    with pytest.raises(NoCover, match="would owe 101 wei, 100 wei stand behind"):
        await till.accept(world.voucher(31, lane=2), payee=PAYEE, lane=2)
    await till.accept(world.voucher(30, lane=2), payee=PAYEE, lane=2)


async def test_settling_changes_nothing_about_what_is_covered(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    till = world.till(fresh_s=1_000)  # it never reads again by itself
    await till.accept(world.voucher(60), payee=PAYEE, lane=LANE)
    world.bank.settle(world.payer.address, PAYEE, LANE, 60)
    await till.accept(world.voucher(100), payee=PAYEE, lane=LANE)
    with pytest.raises(NoCover):
        await till.accept(world.voucher(101), payee=PAYEE, lane=LANE)


async def test_a_deposit_of_a_moment_ago_counts(world: World) -> None:
    till = world.till(fresh_s=1_000)
    with pytest.raises(NoCover):
        await till.accept(world.voucher(10), payee=PAYEE, lane=LANE)
    world.bank.free[world.payer.address] = 10
    await till.accept(world.voucher(10), payee=PAYEE, lane=LANE)


async def test_credit_is_for_those_who_settled_before(world: World) -> None:
    till = world.till(credit_wei=5)
    with pytest.raises(NoCover):  # an address costs nothing
        await till.accept(world.voucher(5), payee=PAYEE, lane=LANE)
    world.bank.free[world.payer.address] = 10
    await till.accept(world.voucher(10), payee=PAYEE, lane=LANE)
    world.bank.settle(world.payer.address, PAYEE, LANE, 10)
    assert await till.accept(world.voucher(15), payee=PAYEE, lane=LANE) == 15
    with pytest.raises(NoCover):
        await till.accept(world.voucher(16), payee=PAYEE, lane=LANE)


async def test_a_reserve_is_hard_cover_for_its_lane_only(world: World) -> None:
    world.bank.lanes[world.payer.address, PAYEE, 1] = Lane(0, 50, NOW + 1_000)
    till = world.till()
    await till.accept(world.voucher(50, lane=1), payee=PAYEE, lane=1)
    with pytest.raises(NoCover):
        await till.accept(world.voucher(1, lane=2), payee=PAYEE, lane=2)
    world.now = NOW + 1_000
    with pytest.raises(NoCover):
        await till.accept(world.voucher(51, lane=1), payee=PAYEE, lane=1)


async def test_money_that_is_announced_to_leave_is_no_cover_from_that_moment(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    world.bank.exits[world.payer.address] = (80, NOW + 10_000)
    await world.till().accept(world.voucher(20), payee=PAYEE, lane=LANE)
    with pytest.raises(NoCover, match="20 wei stand behind"):
        await world.till().accept(world.voucher(21), payee=PAYEE, lane=LANE)


async def test_a_reserve_about_to_end_is_no_cover(world: World) -> None:
    world.bank.lanes[world.payer.address, PAYEE, LANE] = Lane(0, 50, NOW + 1_000)
    till = world.till()
    await till.accept(world.voucher(10), payee=PAYEE, lane=LANE)
    world.now = NOW + 1_000 - END_MARGIN_S
    await till.accept(world.voucher(20), payee=PAYEE, lane=LANE)
    world.now += 1
    with pytest.raises(NoCover):
        await till.accept(world.voucher(21), payee=PAYEE, lane=LANE)


async def test_soft_cover_counts_up_to_the_limit_and_hard_cover_beyond_it(world: World) -> None:
    world.bank.free[world.payer.address] = 1_000
    till = world.till(soft_limit_wei=30)
    await till.accept(world.voucher(30), payee=PAYEE, lane=LANE)
    with pytest.raises(NoCover, match="would owe 31 wei without hard cover, this node lets a payer owe 30 wei"):
        await till.accept(world.voucher(31), payee=PAYEE, lane=LANE)
    with pytest.raises(NoCover):  # another lane of his is the same risk
        await till.accept(world.voucher(1, lane=2), payee=PAYEE, lane=2)
    world.bank.lanes[world.payer.address, PAYEE, LANE] = Lane(0, 500, NOW + 10_000)
    await till.accept(world.voucher(530), payee=PAYEE, lane=LANE)
    with pytest.raises(NoCover):
        await till.accept(world.voucher(531), payee=PAYEE, lane=LANE)
    world.bank.settle(world.payer.address, PAYEE, LANE, 530)
    await till.accept(world.voucher(560), payee=PAYEE, lane=LANE)


@pytest.mark.parametrize(("cap_wei", "hard"), [(1_000, False), (MAX_UINT96, True)])
async def test_a_capped_hot_keys_voucher_is_no_hard_cover(world: World, cap_wei: int, hard: bool) -> None:
    """He could use the cap up elsewhere, and the bank would pay us nothing of the reserve."""
    payer = world.payer.address
    world.bank.lanes[payer, PAYEE, LANE] = Lane(0, 500, NOW + 10_000)
    world.bank.delegates[payer, HOT] = Delegate(NOW + 10_000, cap_wei, 0)
    till = world.till(soft_limit_wei=30)
    if hard:
        await till.accept(world.voucher(500, key=SESSION), payee=PAYEE, lane=LANE)
        return
    with pytest.raises(NoCover):
        await till.accept(world.voucher(31, key=SESSION), payee=PAYEE, lane=LANE)
    await till.accept(world.voucher(500), payee=PAYEE, lane=LANE)


async def test_the_settler_is_woken_when_half_of_what_he_may_owe_is_owed(world: World) -> None:
    world.bank.free[world.payer.address] = 1_000
    till, calls = world.till(soft_limit_wei=30), []
    till._half_full = lambda: calls.append(1)
    await till.accept(world.voucher(15), payee=PAYEE, lane=LANE)
    assert not calls
    await till.accept(world.voucher(16), payee=PAYEE, lane=LANE)
    assert calls


# ------------------------------------------------------------------------------------------------ payers of bytecode

YES = MAGIC + bytes(28)


def of_contract(world: World, sum_wei: int, *, signature: bytes = b"\xff" * 64) -> Voucher:
    return msgspec.structs.replace(world.voucher(sum_wei), signature=signature)


async def test_a_contracts_word_is_taken_up_to_the_soft_limit(world: World) -> None:
    payer = world.payer.address
    world.bank.free[payer] = 1_000
    world.bank.lanes[payer, PAYEE, LANE] = Lane(0, 500, NOW + 10_000)
    world.chain.rpc.contracts[payer] = YES
    till = world.till(soft_limit_wei=30)
    assert await till.accept(of_contract(world, 30), payee=PAYEE, lane=LANE) == 30
    (held,) = await till.pending()
    assert held.by_contract
    assert await till.accept(of_contract(world, 30), payee=PAYEE, lane=LANE) == 30  # the newest may come again
    with pytest.raises(VoucherRefused, match="did not sign the voucher we hold"):
        await till.accept(of_contract(world, 30, signature=b"\xfe" * 64), payee=PAYEE, lane=LANE)
    with pytest.raises(NoCover, match="without hard cover"):  # it may forget its signature, so a reserve is none
        await till.accept(of_contract(world, 31), payee=PAYEE, lane=LANE)


@pytest.mark.parametrize("answer", [b"", MAGIC, bytes(28) + MAGIC, MAGIC + bytes(27) + b"\1", b"\xff" * 32])
async def test_any_other_answer_of_a_contract_is_no(world: World, answer: bytes) -> None:
    world.bank.free[world.payer.address] = 1_000
    world.chain.rpc.contracts[world.payer.address] = answer
    with pytest.raises(BadSignature):
        await world.till().accept(of_contract(world, 10), payee=PAYEE, lane=LANE)


async def test_an_account_without_code_is_never_asked(world: World) -> None:
    world.bank.free[world.payer.address] = 1_000
    await world.till().accept(world.voucher(10), payee=PAYEE, lane=LANE)
    assert world.chain.rpc.asked == []  # signed by its own key: not even the code is read
    with pytest.raises(BadSignature):
        await world.till().accept(of_contract(world, 20), payee=PAYEE, lane=LANE)
    assert world.chain.rpc.asked == ["eth_getCode"]


async def test_a_live_hot_key_speaks_for_a_contract_too(world: World) -> None:
    payer = world.payer.address
    world.bank.free[payer] = 1_000
    world.chain.rpc.contracts[payer] = b""
    world.bank.delegates[payer, HOT] = Delegate(NOW + 1_000, 30, 0)
    await world.till().accept(world.voucher(10, key=SESSION), payee=PAYEE, lane=LANE)
    assert "eth_call" not in world.chain.rpc.asked


async def test_whether_a_payer_is_a_contract_is_remembered_and_survives_a_silent_chain(world: World) -> None:
    contracts = ContractPayers(world.chain, fresh_s=1_000)  # type: ignore[arg-type]
    world.chain.rpc.contracts[world.payer.address] = YES
    for _ in range(3):
        assert await contracts.is_contract(world.payer.address)
    assert world.chain.rpc.asked == ["eth_getCode"]
    contracts._fresh_s = 0.0
    world.bank.silent = True
    assert await contracts.is_contract(world.payer.address)
    with pytest.raises(ChainSilent):
        await contracts.is_contract(PAYEE)


async def test_a_hot_key_signs_within_its_time_and_cap(world: World) -> None:
    payer = world.payer.address
    world.bank.free[payer] = 1_000
    till = world.till()
    with pytest.raises(NoCover, match="may not sign"):
        await till.accept(world.voucher(10, key=SESSION), payee=PAYEE, lane=LANE)
    world.bank.delegates[payer, HOT] = Delegate(NOW + 1_000, 30, 5)
    await till.accept(world.voucher(25, key=SESSION), payee=PAYEE, lane=LANE)
    with pytest.raises(NoCover, match="may sign for 25 wei more"):
        await till.accept(world.voucher(26, key=SESSION), payee=PAYEE, lane=LANE)
    world.bank.delegates[payer, HOT] = Delegate(NOW + 1_000, MAX_UINT96, 0)
    await till.accept(world.voucher(26, key=SESSION), payee=PAYEE, lane=LANE)
    world.bank.delegates[payer, HOT] = Delegate(NOW + 30, MAX_UINT96, 0)
    with pytest.raises(NoCover, match="long enough"):
        await till.accept(world.voucher(27, key=SESSION), payee=PAYEE, lane=LANE)


async def test_a_lane_that_was_settled_before_we_had_a_journal_starts_from_its_sum(world: World) -> None:
    world.bank.free[world.payer.address] = 1_000
    world.bank.lanes[world.payer.address, PAYEE, LANE] = Lane(500, 0, 0)
    with pytest.raises(VoucherRefused, match="stands at 500"):
        await world.till().accept(world.voucher(400), payee=PAYEE, lane=LANE)
    assert await world.till().accept(world.voucher(600), payee=PAYEE, lane=LANE) == 600
    (held,) = await world.till().pending()
    assert held.due_wei == 100


async def test_while_the_chain_is_silent_known_payers_are_served_and_strangers_are_not(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    till = world.till(fresh_s=0.0)
    await till.accept(world.voucher(10), payee=PAYEE, lane=LANE)
    world.bank.silent = True
    await till.accept(world.voucher(20), payee=PAYEE, lane=LANE)
    with pytest.raises(ChainSilent):
        await world.till().accept(world.voucher(30), payee=PAYEE, lane=LANE)


async def test_a_fresh_snapshot_is_not_read_again(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    till = world.till(fresh_s=1_000)
    for sum_wei in range(1, 20):
        await till.accept(world.voucher(sum_wei), payee=PAYEE, lane=LANE)
    assert world.bank.reads == 1


async def test_a_payer_who_is_refused_again_and_again_does_not_flood_the_chain(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    till = world.till(fresh_s=1_000, reread_s=0.5)
    for sum_wei in range(1, 20):
        with pytest.raises(NoCover):
            await till.accept(world.voucher(sum_wei), payee=PAYEE, lane=LANE)
    assert world.bank.reads == 1
    await trio.sleep(1)
    world.bank.free[world.payer.address] = 100
    await till.accept(world.voucher(50), payee=PAYEE, lane=LANE)


async def test_strangers_do_not_fill_the_memory(world: World) -> None:
    cover = Cover(world.chain)  # type: ignore[arg-type]
    for place in range(1, 5_000):
        payer = eip712.checksum_cached(place.to_bytes(20, "big"))
        await cover.of(payer, payer, [(PAYEE, 1)])
    assert len(cover._known) <= 4_096
