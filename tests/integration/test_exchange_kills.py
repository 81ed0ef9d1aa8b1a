"""A power cut at every single line that a deal writes into the journal, on both sides, honest and cheated.

Each scenario is one deal; its nodes lose everything but their folders at each state once, and start again: right after
the state was committed and before any of its actions began, or right before, when the action that led to it is done and
nobody wrote it down. The states come from the machine (`steps`), so a new one cannot be forgotten.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from contracts.anvil import Anvil
from contracts.params import Deployment
from node.exchange import acting
from node.journal import Journal
from node.journal.deals import Deal, Deals
from node.network.errors import PeerUnreachable
from protocols.exchange import machine
from protocols.exchange.events import Checked, Faulted, Verify
from protocols.exchange.machine import Buyer, BuyerState, Seller, steps
from protocols.exchange.messages import PROTOCOL
from protocols.ids import PeerId
from protocols.offers.offer import Offer
from protocols.sealed import Payload
from tests.integration.test_exchange import TOKENS, Place, chain, fund, meet
from tests.support import hostile, trader
from tests.support.items import ALICE, BOB, CAROL
from tests.support.trader import Pantry, Trader
from tests.support.wire import Hub, Wire

__all__ = ["chain"]  # a fixture

pytestmark = pytest.mark.chain

B, S = Buyer, Seller
QUIET_S = 0.5  # both sides wait: let the chain's clock go on
LEAP_S = 400  # of chain time; less than the seller's margin of 600, so nobody is made to miss a deadline


@dataclass(frozen=True)
class Scenario:
    """A cheat (or none), the states its deal goes through, and how it ends."""

    cheat: str
    buyer: tuple[Buyer, ...]
    seller: tuple[Seller, ...]

    @property
    def name(self) -> str:
        return self.cheat or "honest"


TO_THE_LOCK = (B.CHOSEN, B.FETCHED, B.SAMPLED, B.LOCKING, B.LOCKED)
SCENARIOS = [
    Scenario(
        "",
        (*TO_THE_LOCK, B.KEYED, B.VERIFIED, B.CONFIRMING, B.SETTLED),
        (S.SEEN, S.HANDED_OVER, S.CONFIRMED, S.PAID),
    ),
    Scenario("deaf", (B.CONFIRMING, B.PAYING, B.SETTLED), (S.HANDED_OVER, S.PAID)),
    Scenario(
        "wrong-key",
        (B.AWAITING_REFUND, B.KEYED, B.DISPUTING, B.WITHDRAWING, B.DISPUTED),
        (S.HANDED_OVER, S.POSTING, S.DELIVERED, S.DISPUTED),
    ),
    Scenario(
        "vanish",
        (B.LOCKED, B.REFUNDING, B.WITHDRAWING, B.REFUNDED),
        (S.LOCKED, S.POSTING, S.EXPIRED, S.REFUNDED),
    ),
    Scenario("abandon", (B.REFUNDING, B.WITHDRAWING, B.REFUNDED), (S.EXPIRED, S.RELEASING, S.REFUNDED)),
    Scenario("silent-buyer", (B.CONFIRMING, B.SETTLED), (S.POSTING, S.DELIVERED, S.CLAIMING, S.PAID)),
    Scenario("junk", (B.FETCHED, B.REFUSED), ()),
]
AFTER_THE_PAYMENT = (B.RECLAIMING, B.WITHDRAWING, B.RECLAIMED), (S.DISPUTED,)
NEVER_HERE = {
    B.LOST: "only after the whole dispute window was missed",
    S.GONE: "needs a reorganisation; see the model in tests/unit/protocols",
    S.VOID: "needs a reorganisation; see the model in tests/unit/protocols",
}


class PowerCutError(Exception):
    """Ends every task of a node."""


class MortalWire(Wire):
    """A peer that dies cuts off what others asked of it."""

    async def request(self, peer: PeerId, protocol: str, body: bytes, **limits: Any) -> bytes:
        with trio.CancelScope() as asked:
            self._hub.asked.setdefault(peer, []).append(asked)
            try:
                return await super().request(peer, protocol, body, **limits)
            except PowerCutError as err:
                raise PeerUnreachable(f"{peer} is gone") from err
        raise PeerUnreachable(f"{peer} is gone")


class MortalHub(Hub):
    """A node is reachable once it serves, not while it is starting."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[PeerId, list[trio.CancelScope]] = {}

    def wire(self, peer: str) -> Wire:
        made = self.wires[PeerId(peer)] = MortalWire(self, PeerId(peer))
        return made

    def leave(self, wire: Wire) -> None:
        super().leave(wire)
        for asked in self.asked.pop(wire.peer_id, []):
            asked.cancel()

    def others(self, peer: PeerId) -> list[PeerId]:
        return [other for other in super().others(peer) if PROTOCOL in self.wires[other]._handlers]


@pytest.fixture
def place(chain: tuple[Anvil, Deployment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(trader, "Deals", MortalDeals)
    return Place(*chain, MortalHub(), Pantry(), tmp_path)


HOUSEHOLD: ContextVar[Household] = ContextVar("household")  # whose journal is being opened


class MortalDeals(Deals):
    """The store of deals of a node whose power fails."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal)
        self._household = HOUSEHOLD.get(None)

    async def save(self, deal: Deal) -> None:
        due = self._household is not None and deal.state in self._household.cuts
        if not (due and self._household.early):
            await super().save(deal)
        if due:
            await self._household.cut(deal.state)


@dataclass
class Household:
    """A node that comes back after each power cut."""

    place: Place
    peer: str
    number: int
    early: bool  # the power fails before the state is committed, when what led to it has been done
    cuts: set[str] = field(default_factory=set)
    trader: Trader | None = None
    power: trio.CancelScope = field(default_factory=trio.CancelScope)
    gone: bool = False

    async def live(self) -> None:
        HOUSEHOLD.set(self)
        while True:
            self.power = trio.CancelScope()  # a cut may come while the node is still starting
            try:
                async with self.place.trader(self.peer, self.number) as self.trader:
                    with self.power:
                        await trio.sleep_forever()
            except* PowerCutError:
                self.trader = None
            if self.gone:
                return

    async def cut(self, state: str) -> None:
        self.cuts.remove(state)
        self.trader = None
        self.power.cancel()
        raise PowerCutError

    def leave(self) -> None:
        self.gone = True
        self.power.cancel()

    async def here(self) -> Trader:
        """The trader, as soon as it lives again."""
        while self.trader is None:
            await trio.sleep(0.01)
        return self.trader

    async def deal(self, deal: str) -> Deal | None:
        """What stands in the journal; nothing, when the power fails just as one looks."""
        with contextlib.suppress(sqlite3.ProgrammingError):
            return await (await self.here()).deals.get(deal)
        return None


def test_every_state_that_reaches_the_journal_has_its_power_cut() -> None:
    def sided(states: Iterable[B | S]) -> set[tuple[type, str]]:
        return {(type(state), state.value) for state in states}  # equal texts make both sides' members equal

    met = sided(state for scenario in SCENARIOS for state in (*scenario.buyer, *scenario.seller))
    met |= sided(state for side in AFTER_THE_PAYMENT for state in side)
    assert met | sided(NEVER_HERE) == sided(steps())
    assert not met & sided(NEVER_HERE)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
@pytest.mark.parametrize("early", [True, False], ids=["before", "after"])
async def test_a_power_cut_at_every_step_changes_no_outcome(
    early: bool, scenario: Scenario, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    if scenario.cheat:
        hostile.become(scenario.cheat, monkeypatch.setattr)
    async with trio.open_nursery() as nursery:
        seller = Household(place, ALICE, 1, early)
        buyer = Household(place, BOB, 2, early)
        nursery.start_soon(seller.live)
        nursery.start_soon(buyer.live)
        alice, bob = await seller.here(), await buyer.here()
        offer = await meet(alice, bob, place)
        before = await bob.chain.token.balance(bob.account.address)
        price = int(bob.offers.get(offer).body.price_wei)
        terms = await bob.chain.sale.offer_terms(bob.offers.get(offer).body.offer_no)
        seller.cuts, buyer.cuts = set(scenario.seller), set(scenario.buyer)
        if early:
            buyer.cuts.discard(B.CHOSEN)  # a deal that was never written down was never begun
        begun = await begin(buyer, offer)
        await finish(place, seller, buyer, begun, needs_sale=bool(scenario.seller))
        assert (seller.cuts, buyer.cuts) == (set(), set()), "a power cut did not happen"
        bob = await buyer.here()
        ended = await bob.deals.get(begun)
        assert ended is not None
        assert ended.state == scenario.buyer[-1]
        gained = await bob.chain.token.balance(bob.account.address) - before
        assert gained == {
            B.SETTLED: -price, B.REFUNDED: 0, B.REFUSED: 0, B.DISPUTED: terms.bond_wei // 2,
        }[scenario.buyer[-1]]  # fmt: skip
        paid = S.PAID in scenario.seller
        after = await bob.chain.sale.offer_terms(bob.offers.get(offer).body.offer_no)
        assert (after.uncollected, after.open) == (int(paid), 0)
        assert ((await bob.shard.stats()).records > 0) is paid
        seller.leave()
        buyer.leave()


@pytest.mark.parametrize("early", [True, False], ids=["before", "after"])
async def test_a_power_cut_at_every_step_after_the_payment_changes_no_outcome(
    early: bool, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bob paid without looking; then Carol looks, and what the contract still holds of his price comes back."""
    careless: set[str] = set()
    look = machine.examine

    def examine(state: BuyerState, action: Verify, payload: Payload) -> Checked | Faulted:
        return (hostile.believe if state.terms.deal in careless else look)(state, action, payload)

    hostile.become("false-cell", monkeypatch.setattr)
    monkeypatch.setattr(machine, "examine", examine)
    monkeypatch.setattr(acting, "salvage", hostile.skim)
    async with trio.open_nursery() as nursery:
        seller, buyer = Household(place, ALICE, 1, early), Household(place, BOB, 2, early)
        nursery.start_soon(seller.live)
        nursery.start_soon(buyer.live)
        alice, bob = await seller.here(), await buyer.here()
        async with place.trader(CAROL, 3) as carol:
            await carol.gossip.follow("fashion")
            offer = await meet(alice, bob, place)
            await fund(place, carol)
            bought, offer = await paid_unseen(place, alice, bob, offer, careless)
            terms = bob.offers.get(offer).body
            before = await bob.chain.token.balance(bob.account.address)
            buyer.cuts, seller.cuts = set(AFTER_THE_PAYMENT[0]), set(AFTER_THE_PAYMENT[1])
            assert await carol.over(await carol.desk.buy(offer, 1_000 * TOKENS)) == "disputed"
            await ends(buyer, bought, B.RECLAIMED)
            row = await buyer.deal(bought)
            assert row is not None
            await ends(seller, f"sale-{row.sale}", S.DISPUTED)
        assert (seller.cuts, buyer.cuts) == (set(), set()), "a power cut did not happen"
        bob = await buyer.here()
        share = await bob.chain.sale.held_share(int(terms.price_wei))
        assert share > 0
        assert await bob.chain.token.balance(bob.account.address) - before == share
        assert (await bob.chain.sale.held(terms.offer_no), await bob.chain.sale.credit(bob.account.address)) == (0, 0)
        seller.leave()
        buyer.leave()


async def paid_unseen(place: Place, alice: Trader, bob: Trader, offer: str, careless: set[str]) -> tuple[str, str]:
    """Bob's settled deal about an offer with one false cell that its sample did not hold."""
    for _ in range(8):
        deal = await bob.desk.buy(offer, 1_000 * TOKENS)
        careless.add(deal)
        if await bob.over(deal) == "settled":
            return deal, offer
        offer = (await alice.offers.publish("fashion", "Dresses, sealed anew")).item.id
        for _ in range(3):
            place.anvil.call("evm_mine")
        with trio.fail_after(10):
            while bob.catalog.get(offer, Offer) is None:
                await trio.sleep(0.01)
    raise AssertionError("eight samples in a row held the one false cell")


async def ends(house: Household, deal: str, state: B | S) -> None:
    with trio.fail_after(60):
        while (row := await house.deal(deal)) is None or row.state != state:
            await trio.sleep(0.02)


async def begin(buyer: Household, offer: str) -> str:
    """Bob begins to buy; his first power cut comes before he can say so."""
    bob = await buyer.here()
    with contextlib.suppress(PowerCutError):
        return await bob.desk.buy(offer, 1_000 * TOKENS)
    bob = await buyer.here()
    (row,) = await bob.deals.unfinished("buyer")
    return row.deal


async def finish(place: Place, seller: Household, buyer: Household, deal: str, *, needs_sale: bool) -> None:
    """Wait until both sides are over; when nothing moves, time passes."""
    with trio.fail_after(120):
        last: list[str] = []
        while True:
            bought = await buyer.deal(deal)
            sold = await seller.deal(f"sale-{bought.sale}") if bought else None
            if bought and bought.over and (sold.over if sold else not needs_sale):
                return
            seen = [row.state if row else "" for row in (bought, sold)]
            if seen == last:
                place.anvil.call("evm_increaseTime", LEAP_S)
                place.anvil.call("evm_mine")
            last = seen
            await trio.sleep(QUIET_S)
