"""A stall: one seller with many lots, one buyer, and what is true about them before and after a deal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.e2e.goods import goods
from tests.support.client import Client
from tests.support.cluster import Cluster, PowerCut, wait_for

DOMAIN = "reviews"
EACH = 6  # records of a lot
SELLER, BUYER = "seller", "buyer"
NAMES = (SELLER, BUYER)


@dataclass(frozen=True)
class Purse:
    """Tokens before a deal: what the buyer has, what the offer has earned, ripe or not."""

    buyer_wei: int
    earned_wei: int


class Stall:
    """Both traders on a cluster; every deal is about a lot of its own, so that its records are told apart.

    The `lots` are on offer; the goods of those for `later` are there.
    """

    def __init__(self, cluster: Cluster, lots: Sequence[str], *, later: Sequence[str] = (), seed: int = 0) -> None:
        self.cluster = cluster
        self.whole()
        seller = self.seller
        for node in (seller, self.buyer):
            node.call("domains.follow", domain=DOMAIN)
        items = [item for lot in goods([*lots, *later], EACH, seed).values() for item in lot]
        put = seller.call("collect.put", domain=DOMAIN, items=items, licence="CC0-1.0", consent="I wrote these")
        assert put["records"] == len(items), put
        self.offers: dict[str, dict[str, Any]] = {}
        self.offer(*lots)

    def offer(self, *lots: str) -> None:
        """Put lots on sale; the buyer knows them and may sample them when this returns."""
        self.offers |= {lot: self._publish(self.seller, lot) for lot in lots}
        ids = {self.offers[lot]["offer"] for lot in lots}
        wait_for(lambda: ids <= self._known(), "the offers at the buyer")
        self.cluster.mine(3)  # the block whose hash chooses the samples

    def whole(self) -> None:
        """Both traders alive and nothing armed, however the last test ended."""
        for name in NAMES:
            self.cluster.disarm(name)
            if not self.cluster.alive(name):
                self.cluster.start(name)

    def purse(self, lot: str) -> Purse:
        """What the chain says now."""
        number = self.offers[lot]["offer_no"]
        earned = sum(int(self.cluster.view("sale", view, number)) for view in ("earned", "held"))
        return Purse(self.cluster.balance(BUYER), earned)

    def buy(self, lot: str, max_price: int | None = None) -> None:
        """Begin to buy; the buyer may die before he can answer."""
        offer = self.offers[lot]
        with suppress(OSError):
            self.buyer.call("deals.buy", offer=offer["offer"], max_price=str(max_price or offer["price_wei"]))

    def dies(self, name: str, *cuts: PowerCut, cheat: str = "") -> None:
        """One life after the other, each ended by its cut; the node stays down."""
        for cut in cuts:
            self.cluster.start(name, cut=cut, cheat=cheat, ready=False)
            self.cluster.died(name)

    def deal(self, lot: str, name: str = BUYER) -> dict[str, Any]:
        """The one deal of a node about a lot."""
        (found,) = self.deals(lot, name)
        return found

    def deals(self, lot: str, name: str) -> list[dict[str, Any]]:
        """What a node knows of deals about a lot: nothing until it has read of the lock."""
        deals = self.cluster.client(name).call("deals.list")["items"]
        return [dict(deal) for deal in deals if deal["offer"] == self.offers[lot]["offer"]]

    def until(self, lot: str, state: str, name: str = BUYER) -> dict[str, Any]:
        """The deal as soon as it is in a state. Says where it stood when it never came there."""
        seen: dict[str, Any] = {}

        def there() -> bool:
            for deal in self.deals(lot, name):
                seen.update(deal)
            return seen.get("state") == state or bool(seen.get("over"))

        try:
            wait_for(there, f"{state} at the {name}", 60)
        except TimeoutError as err:
            raise AssertionError(f"{err}: {seen}; {self.cluster.words(name)}") from err
        assert seen["state"] == state, (seen["state"], seen["reason"])
        return seen

    def until_one(self, lot: str, state: str, name: str = BUYER) -> None:
        """Wait until one of several deals about a lot is in a state."""
        wait_for(lambda: state in {deal["state"] for deal in self.deals(lot, name)}, f"one {state} at the {name}", 60)

    def until_delivered(self, lot: str) -> None:
        """Wait until the seller has posted a key on chain."""
        self.until(lot, "delivered", SELLER)

    def bond(self, lot: str) -> int:
        """What the seller of a lot has at stake."""
        _, _, _, bond, *_ = self._terms(lot)
        return int(bond)

    def records(self, lot: str) -> list[dict[str, Any]]:
        """The buyer's records that came from a lot's offer."""
        wanted = f"offer:{self.offers[lot]['offer']}"
        held = self.buyer.call("records.list", domain=DOMAIN, origin="bought", limit=1_000)["items"]
        return [record for record in held if record["source"] == wanted]

    @property
    def buyer(self) -> Client:
        return self.cluster.client(BUYER)

    @property
    def seller(self) -> Client:
        return self.cluster.client(SELLER)

    # --- how a deal may end ---

    def assert_paid(self, lot: str, before: Purse, *, settled: int = 1) -> None:
        """Price paid once, records there once, seller paid, books balanced.

        The deal came to its end `settled` times, more than once only when the chain took something back.
        """
        bought = self.until(lot, "settled")
        assert [step["state"] for step in bought["steps"]].count("settled") == settled
        price = int(self.offers[lot]["price_wei"])
        after = self.purse(lot)
        assert before.buyer_wei - after.buyer_wei == price
        assert after.earned_wei - before.earned_wei == price - self.cluster.view("sale", "feeOf", price)
        self._assert_sales(lot, locked=1, paid=1)
        self._assert_records(lot, bought)
        self.until(lot, "paid", SELLER)
        self.assert_balanced()

    def assert_unpaid(self, lot: str, before: Purse, *, locked: int = 1, gained_wei: int = 0) -> None:
        """No money gone (and perhaps a part of the seller's bond won), no record, books balanced."""
        after = self.purse(lot)
        assert after.buyer_wei - before.buyer_wei == gained_wei
        assert after.earned_wei == before.earned_wei
        self._assert_sales(lot, locked=locked, paid=0)
        assert self.records(lot) == []
        self.assert_balanced()

    def assert_balanced(self) -> None:
        books = self.cluster.audit()
        assert books.balanced, books

    def _assert_sales(self, lot: str, *, locked: int, paid: int) -> None:
        """How often the price was locked and paid, by the contract's own count; nothing is left open."""
        _, _, _, _, _, _, _, still_open, sold, uncollected, *_ = self._terms(lot)
        assert (still_open, sold, uncollected) == (0, locked, paid)

    def _assert_records(self, lot: str, bought: dict[str, Any]) -> None:
        held = self.records(lot)
        assert bought["records"] == len(held) == len({record["id"] for record in held}) == EACH
        assert {record["deal"] for record in held} == {bought["deal"]}
        assert {record["labels"]["lot"] for record in held} == {lot}
        found = self.buyer.call("records.search", query=held[0]["text"], limit=3)["items"]
        assert held[0]["id"] in {hit["id"] for hit in found}  # the tiny model cannot tell two orders of words apart

    def _known(self) -> set[str]:
        return {offer["offer"] for offer in self.buyer.call("offers.list", limit=1_000)["items"]}

    def _terms(self, lot: str) -> Any:
        return self.cluster.view("sale", "offers", self.offers[lot]["offer_no"])

    def _publish(self, seller: Client, lot: str) -> dict[str, Any]:
        wanted = {"labels": {"lot": lot}}
        offer: dict[str, Any] = seller.call("offers.publish", domain=DOMAIN, title=lot, filter=wanted)
        assert offer["records"] == EACH
        return offer
