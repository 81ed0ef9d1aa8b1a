"""Buyer against seller on a modelled chain: honest, cheating, crashing, reorganised, without connection."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocols.exchange import events as ev
from protocols.exchange.machine import Buyer, Seller, ended
from protocols.sealed import check
from tests.unit.protocols.exchange_world import BOND, DEEPEST, HELD, PRICE, RECORDS, World

B, S = Buyer, Seller
ENDS = {  # how each kind of seller or buyer ends when both nodes live in peace: (buyer, seller, the buyer's money)
    "honest": (B.SETTLED, S.PAID, -PRICE),
    "mute": (B.SETTLED, S.PAID, -PRICE),  # answers nobody, but posts the key on chain
    "wrong in private": (B.SETTLED, S.PAID, -PRICE),  # and then posts the right one
    "silent buyer": (B.SETTLED, S.PAID, -PRICE),
    "vanished": (B.REFUNDED, S.REFUNDED, 0),
    "wrong, then vanished": (B.REFUNDED, S.REFUNDED, 0),
    "wrong always": (B.DISPUTED, S.DISPUTED, BOND // 2),
    "off the curve": (B.DISPUTED, S.DISPUTED, BOND // 2),
    "replayed": (B.DISPUTED, S.DISPUTED, BOND // 2),
    "false cell": (B.DISPUTED, S.DISPUTED, BOND // 2),
    "false key": (B.DISPUTED, S.DISPUTED, BOND // 2),
}


def holds_data(world: World) -> bool:
    """Whether the buyer can read the payload."""
    key = world.buyer.content_key
    return bool(key) and check(world.payload, key) is None


STANDS = {  # what the final chain must say of a sale whose machine ended so
    B.SETTLED: {"paid"},
    B.RECLAIMED: {"reclaimed"},
    B.REFUNDED: {"refunded"},
    B.DISPUTED: {"refunded", "reclaimed", "paid"},
    S.PAID: {"paid"},
    S.REFUNDED: {"refunded"},
    S.DISPUTED: {"refunded", "reclaimed"},
}


def assert_fair(world: World) -> None:
    """Data or money: a buyer who has not the one has the other, whatever happened on the way."""
    money = world.contract.wallet["buyer"] - 1_000
    seller = world.contract.credit["seller"] + sum(it.held for it in world.contract.sales.values())
    assert world.buyer.phase is not B.LOST
    assert holds_data(world) or money >= 0
    if world.buyer.phase is B.SETTLED:
        assert (money, seller) == (-PRICE, PRICE)
        assert holds_data(world)
        assert (world.buyer.imported, world.buyer.records) == (True, len(RECORDS))
    if world.buyer.phase is B.RECLAIMED:
        assert (money, seller) == (HELD - PRICE, PRICE - HELD)
    if world.buyer.phase in (B.REFUNDED, B.DISPUTED):
        assert seller == 0
        assert money in (0, BOND // 2)
    assert world.contract.total() == world.total
    assert_as_the_chain_says(world)


def assert_as_the_chain_says(world: World) -> None:
    """No machine remembers what a reorganisation took away, and none missed what came instead."""
    if world.buyer.phase is B.REFUSED:
        assert world.contract.wallet["buyer"] == 1_000
    else:
        assert world.contract.sales[int(world.buyer.sale)].state in STANDS[world.buyer.phase]
    for sale, state in world.sellers().items():
        if state.phase is S.VOID:
            assert sale not in world.contract.sales
        else:
            assert world.contract.sales[sale].state in STANDS[state.phase]


@pytest.mark.parametrize("cheat", ENDS)
def test_in_peace_every_deal_ends_as_promised(cheat: str) -> None:
    world = World(cheat)
    world.finish()
    buyer, seller, money = ENDS[cheat]
    assert (world.buyer.phase, [state.phase for state in world.sellers().values()]) == (buyer, [seller])
    assert world.contract.wallet["buyer"] - 1_000 == money
    assert_fair(world)


def test_an_honest_deal_posts_nothing_on_chain() -> None:
    world = World()
    world.finish()
    sent = [
        type(action).__name__ for _, action in world.ran if hasattr(action, "key") and not isinstance(action, ev.Verify)
    ]
    assert sent == ["Lock"]
    assert [type(action).__name__ for who, action in world.ran if who == "seller"] == ["Bring"]


def test_a_buyer_pays_the_gas_himself_when_his_signature_is_not_brought() -> None:
    world = World("mute")  # takes no confirmation, and would post the key first
    for _ in range(3_000):
        if world.ended():
            break
        world.run(0)
        world.mine()
    assert [type(action).__name__ for who, action in world.ran if who == "buyer"][-1] == "Confirm"


@pytest.mark.parametrize("depth", range(1, DEEPEST + 1))
@pytest.mark.parametrize("drop", [False, True], ids=["kept", "dropped"])
@pytest.mark.parametrize("cheat", ENDS)
def test_a_reorganisation_of_the_end_leads_to_the_same_end(cheat: str, drop: bool, depth: int) -> None:
    world = World(cheat)
    world.finish()
    world.reorganise(depth, drop=drop)
    world.finish()
    assert (world.buyer.phase, world.contract.wallet["buyer"] - 1_000) == (ENDS[cheat][0], ENDS[cheat][2])
    assert_fair(world)


@pytest.mark.parametrize("cheat", ENDS)
def test_a_crash_of_either_side_after_every_single_action_changes_no_outcome(cheat: str) -> None:
    world = World(cheat)
    for _ in range(3_000):
        if world.ended():
            break
        for position in range(2):  # one of each side: an action that a crash repeats must not starve the other's
            world.run(position)
            world.crash("buyer")
            world.crash("seller")
        world.mine()
    assert (world.buyer.phase, world.contract.wallet["buyer"] - 1_000) == (ENDS[cheat][0], ENDS[cheat][2])
    assert_fair(world)


class Deal(RuleBasedStateMachine):
    """Anything may happen in any order; what must never happen never does."""

    @initialize(cheat=st.sampled_from(sorted(ENDS)))
    def choose(self, cheat: str) -> None:
        self.world = World(cheat)
        self.checked = 0

    @rule(position=st.integers(0, 20))
    def act(self, position: int) -> None:
        self.world.run(position)

    @rule(blocks=st.integers(1, 40))
    def mine(self, blocks: int) -> None:
        for _ in range(blocks):
            self.world.mine()

    @rule(who=st.sampled_from(["buyer", "seller"]))
    def crash(self, who: str) -> None:
        self.world.crash(who)

    @rule(blocks=st.integers(1, 8))
    def lose_connection(self, blocks: int) -> None:
        self.world.outage = blocks

    @rule(depth=st.integers(1, DEEPEST), drop=st.booleans())
    def reorganise(self, depth: int, drop: bool) -> None:
        self.world.reorganise(depth, drop=drop)

    @precondition(lambda self: not self.world.contract.bad and self.world.contract.sales)
    @rule()
    def somebody_else_proves_a_fault(self) -> None:
        self.world.contract.slash_elsewhere(self.world.now)

    @rule()
    def ask_for_the_key_as_a_stranger(self) -> None:
        for sale in self.world.seller_journal:
            self.world.tell_seller(sale, ev.KeyAsked())

    @invariant()
    def money_is_conserved(self) -> None:
        assert self.world.contract.total() == self.world.total

    @invariant()
    def no_key_before_a_lock_and_no_payment_before_the_data(self) -> None:
        for who, action in self.world.ran[self.checked :]:
            if who == "buyer" and isinstance(action, ev.Confirm):
                assert self.world.buyer.imported
                assert holds_data(self.world)
        self.checked = len(self.world.ran)
        for sale, state in self.world.sellers().items():
            if state.handed_over and state.phase not in (S.GONE, S.VOID, S.SEEN):
                assert sale in self.world.contract.sales

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.finish()
        assert ended(self.world.buyer)
        assert_fair(self.world)


TestDeal = Deal.TestCase
TestDeal.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
