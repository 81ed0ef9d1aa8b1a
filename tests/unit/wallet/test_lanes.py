"""The payer signs what he means to pay, once, within his deposit and his limits, never more than a unit ahead."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.bindings.bank import MAX_UINT96, Delegate, Lane
from node.identity.errors import WalletLocked
from node.journal.vouchers import DAY_S
from node.wallet.cover import Snapshot
from node.wallet.errors import AheadTooFar, InsufficientFunds, SpendLimit
from protocols.voucher import verify_voucher
from tests.unit.wallet.conftest import HOT, LANE, NOW, PAYEE, World

OTHER = 3


async def test_units_add_up_and_each_waits_for_the_one_before(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    lanes = world.lanes()
    assert (await lanes.pay(PAYEE, LANE, 10)).cumulative == 10
    assert (await lanes.pay(PAYEE, LANE, 10)).cumulative == 10  # asked again: the same voucher
    with pytest.raises(AheadTooFar):
        await lanes.pay(PAYEE, LANE, 11)
    await lanes.received(PAYEE, LANE)
    voucher = await lanes.pay(PAYEE, LANE, 11)
    assert voucher.cumulative == 21
    assert verify_voucher(voucher, world.domain) == world.payer.address


async def test_what_was_signed_survives_a_restart(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    first = await world.lanes().promise(PAYEE, LANE, 40)
    again = world.lanes()
    assert await again.promised(PAYEE, LANE) == 40
    assert await again.promise(PAYEE, LANE, 40) == first
    assert await again.promise(PAYEE, LANE, 30) == first


async def test_promises_on_all_lanes_stay_within_the_deposit(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    lanes = world.lanes()
    await lanes.promise(PAYEE, LANE, 60)
    with pytest.raises(InsufficientFunds, match="deposit balance is 100 wei") as caught:
        await lanes.promise(PAYEE, OTHER, 41)
    assert (caught.value.have, caught.value.need) == (100, 101)
    world.bank.settle(world.payer.address, PAYEE, LANE, 60)
    await lanes.promise(PAYEE, OTHER, 40)
    with pytest.raises(InsufficientFunds):
        await lanes.promise(PAYEE, LANE, 61)
    assert await lanes.promised(PAYEE, LANE) == 60


async def test_the_session_key_signs_while_the_wallet_is_locked(world: World) -> None:
    payer = world.payer.address
    world.bank.free[payer] = 100
    world.payer.locked = True
    with pytest.raises(WalletLocked):
        await world.lanes().promise(PAYEE, LANE, 1)
    world.bank.delegates[payer, HOT] = Delegate(NOW + 1_000, 50, 0)
    assert verify_voucher(await world.lanes().promise(PAYEE, LANE, 50), world.domain) == HOT
    with pytest.raises(WalletLocked):  # beyond its cap
        await world.lanes().promise(PAYEE, LANE, 51)
    world.payer.locked = False
    assert verify_voucher(await world.lanes().promise(PAYEE, LANE, 51), world.domain) == payer


async def test_a_session_key_about_to_expire_signs_no_more(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    world.bank.delegates[world.payer.address, HOT] = Delegate(NOW + 100, MAX_UINT96, 0)
    assert verify_voucher(await world.lanes().promise(PAYEE, LANE, 1), world.domain) == world.payer.address


async def test_the_days_limit_holds_and_ends_with_the_day(world: World) -> None:
    world.bank.free[world.payer.address] = 1_000
    lanes = world.lanes(max_spend_wei=50)
    await lanes.promise(PAYEE, LANE, 30)
    with pytest.raises(SpendLimit, match="1 wei over"):
        await lanes.promise(PAYEE, OTHER, 21)
    await lanes.promise(PAYEE, OTHER, 20)
    assert await lanes.promised(PAYEE, OTHER) == 20
    world.now += DAY_S + 1
    await lanes.promise(PAYEE, LANE, 80)


async def test_a_restored_wallet_without_its_journal_goes_on_from_the_chain(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    world.bank.lanes[world.payer.address, PAYEE, LANE] = Lane(500, 0, 0)
    assert (await world.lanes().pay(PAYEE, LANE, 10)).cumulative == 510


async def test_payer_and_payee_agree_to_the_last_unit(world: World) -> None:
    """What the payer is willing to sign is exactly what the payee is willing to take."""
    world.bank.free[world.payer.address] = 30
    lanes, till = world.lanes(), world.till()
    for _ in range(3):
        voucher = await lanes.pay(PAYEE, LANE, 10)
        await till.accept(voucher, payee=PAYEE, lane=LANE, price_wei=10)
        await lanes.received(PAYEE, LANE)
    with pytest.raises(InsufficientFunds):
        await lanes.pay(PAYEE, LANE, 10)


async def test_on_a_reserved_lane_the_wallet_itself_signs_if_it_can(world: World) -> None:
    """A capped key's voucher could be voided by using the cap up elsewhere."""
    payer = world.payer.address
    world.bank.free[payer] = 100
    world.bank.delegates[payer, HOT] = Delegate(NOW + 1_000, 500, 0)
    world.bank.lanes[payer, PAYEE, LANE] = Lane(0, 50, NOW + 10_000)
    lanes = world.lanes()
    assert verify_voucher(await lanes.promise(PAYEE, LANE, 10), world.domain) == payer
    assert verify_voucher(await lanes.promise(PAYEE, OTHER, 10), world.domain) == HOT
    world.payer.locked = True
    assert verify_voucher(await lanes.promise(PAYEE, LANE, 20), world.domain) == HOT


async def test_what_is_reserved_for_one_lane_does_not_pay_another(world: World) -> None:
    world.bank.free[world.payer.address] = 20
    world.bank.lanes[world.payer.address, PAYEE, LANE] = Lane(0, 50, NOW + 10_000)
    lanes = world.lanes()
    await lanes.promise(PAYEE, LANE, 60)
    with pytest.raises(InsufficientFunds):
        await lanes.promise(PAYEE, OTHER, 11)
    await lanes.promise(PAYEE, OTHER, 10)


async def test_what_is_about_to_leave_is_not_promised(world: World) -> None:
    world.bank.free[world.payer.address] = 100
    world.bank.exits[world.payer.address] = (80, NOW + 1_000)
    with pytest.raises(InsufficientFunds):
        await world.lanes().promise(PAYEE, LANE, 21)
    await world.lanes().promise(PAYEE, LANE, 20)


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.integers(0, 4), st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100)), min_size=1
    ),
    st.data(),
)
def test_settling_any_part_of_any_lane_leaves_the_cover_as_it_was(
    lanes: dict[int, tuple[int, int, int]], data: st.DataObject
) -> None:
    """soft − uncovered is the same before and after, so a remembered snapshot stays true; hard cover goes first."""
    sums = {(str(PAYEE), lane): paid + more for lane, (paid, more, _) in lanes.items()}
    before = _snapshot(1_000, {lane: (paid, reserved) for lane, (paid, _, reserved) in lanes.items()})
    free, rows = 1_000, {}
    for lane, (paid, more, reserved) in lanes.items():
        part = data.draw(st.integers(0, more))
        hard = min(part, reserved)
        free -= part - hard
        rows[lane] = (paid + part, reserved - hard)
    after = _snapshot(free, rows)
    assert before.soft_wei - before.uncovered_wei(sums, NOW) == after.soft_wei - after.uncovered_wei(sums, NOW)


def _snapshot(free: int, rows: dict[int, tuple[int, int]]) -> Snapshot:
    lanes = {(str(PAYEE), lane): Lane(paid, reserved, NOW + 10_000) for lane, (paid, reserved) in rows.items()}
    return Snapshot(free_wei=free, exiting_wei=0, exit_at=0, lanes=lanes, delegate=None, block=1, read_at=0.0)
