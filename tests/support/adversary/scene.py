"""Where the stories play: honest daemons, one adversary, and what the chain says of their money.

mallory = scene.adversary("wrong-key")       # restarted with other software
lot = scene.sell(MALLORY, "dresses")
deal = scene.buy(BOB, lot)
scene.until(BOB, deal, "disputed")
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary
from zlib import crc32

from config.settings import Exchange
from contracts.abi import Abi
from contracts.artifact import load
from tests.e2e.goods import goods
from tests.support.client import CallFailed, Client
from tests.support.cluster import Cluster, wait_for

ALICE, BOB, CAROL, MALLORY = "alice", "bob", "carol", "mallory"
DOMAIN = "cheats"
EACH = 12  # records of a lot
PATIENCE_S = 60
FURTHER = {
    "models": "ModelRegistry",
    "oracle": "PriceOracle",
    "rewards": "RewardPool",
    "stakes": "StakeVault",
    "reputation": "Reputation",
}

STRANGERS = itertools.count(1)  # each has a wallet of his own
SOFTWARE: WeakKeyDictionary[Cluster, dict[str, str]] = WeakKeyDictionary()  # who runs what


@dataclass(frozen=True)
class Purse:
    """What an account has on chain: tokens, what contracts owe it at once, its deposit; and coins for gas."""

    token_wei: int
    credit_wei: int
    deposit_wei: int
    native_wei: int

    @property
    def wealth_wei(self) -> int:
        return self.token_wei + self.credit_wei + self.deposit_wei


@dataclass(frozen=True)
class Lot:
    """An offer: its name, who sells it, what it costs, how many cells and records it says it has."""

    offer: str
    number: int
    seller: str
    price_wei: int
    cells: int
    records: int


class Scene:
    """One cluster; the stories come one after the other, each with lots of its own."""

    def __init__(self, cluster: Cluster, domain: str = DOMAIN) -> None:
        self.cluster = cluster
        self.domain = domain
        cluster.abis.update({key: Abi(load(name).abi) for key, name in FURTHER.items()})
        self._software = SOFTWARE.setdefault(cluster, {})
        self._seed = 0
        self._guest = ""

    # --- who is there ---

    def honest(self, name: str) -> Client:
        """A node that runs the product."""
        return self._runs(name, "")

    def wary(self, name: str) -> Client:
        """A node that runs the product with the settings it is shipped with; the cluster's forgive any seller."""
        return self._runs(name, "", {"exchange.max_disputes_lost": str(Exchange().max_disputes_lost)})

    def adversary(self, behaviour: str, name: str = MALLORY) -> Client:
        """A node whose owner has rewritten it."""
        return self._runs(name, behaviour)

    def _runs(self, name: str, behaviour: str, settings: Mapping[str, str] | None = None) -> Client:
        software = f"{behaviour} {settings or ''}"
        if not (self.cluster.alive(name) and self._software.get(name) == software):
            self.departs(name)
            self.cluster.start(name, cheat=behaviour, settings=settings)
            self._software[name] = software
        client = self.cluster.client(name)
        client.call("domains.follow", domain=self.domain)
        return client

    def stranger(self, behaviour: str) -> str:
        """An adversary whom nobody has met, and the last one is gone; his name. A record of faults does not stick."""
        self.departs(self._guest)
        self._guest = f"{MALLORY}{next(STRANGERS)}"
        self.adversary(behaviour, self._guest)
        return self._guest

    def departs(self, name: str) -> None:
        """A node that goes, if it is there."""
        if self.cluster.alive(name):
            self.cluster.kill(name)

    def client(self, name: str) -> Client:
        return self.cluster.client(name)

    def address(self, name: str) -> str:
        return str(self.client(name).call("node.status")["address"])

    # --- data ---

    def put(self, name: str, lot: str, records: int = EACH) -> None:
        """Reviews for a lot, in the shard of a node."""
        self._seed += 1
        items = goods([lot], records, seed=crc32(f"{self.domain} {self._seed}".encode()))[lot]
        licence, consent = "CC0-1.0", "I wrote these"
        self.client(name).call("collect.put", domain=self.domain, items=items, licence=licence, consent=consent)

    def publish(self, seller: str, lot: str, *hearers: str) -> Lot:
        """A lot on offer, known to its hearers, its sample drawn."""
        made = self.client(seller).call(
            "offers.publish", domain=self.domain, title=lot, filter={"labels": {"lot": lot}}
        )
        for hearer in hearers:
            wait_for(lambda hearer=hearer: made["offer"] in self.offers(hearer), f"{lot} at {hearer}")  # type: ignore[misc]
        self.cluster.mine(3)
        return Lot(
            offer=made["offer"],
            number=int(made["offer_no"]),
            seller=seller,
            price_wei=int(made["price_wei"]),
            cells=int(made["cells"]),
            records=int(made["records"]),
        )

    def sell(self, seller: str, lot: str, *hearers: str) -> Lot:
        """Goods and their offer."""
        self.put(seller, lot)
        return self.publish(seller, lot, *(hearers or (BOB,)))

    def hears(self, name: str, offer: str) -> None:
        """Wait until a node shows an offer."""
        wait_for(lambda: offer in self.offers(name), f"offer {offer[:12]} at {name}")

    def offers(self, name: str) -> list[str]:
        """The offers that a node shows, as it ranks them."""
        return [offer["offer"] for offer in self.client(name).call("offers.list", domain=self.domain)["items"]]

    def records(self, name: str, lot: Lot) -> list[dict[str, Any]]:
        """What a node holds of a lot it bought."""
        held = self.client(name).call("records.list", domain=self.domain, origin="bought", limit=1_000)["items"]
        return [record for record in held if record["source"] == f"offer:{lot.offer}"]

    # --- deals ---

    def buy(self, buyer: str, lot: Lot) -> str:
        """Begin to buy; the deal."""
        with suppress(CallFailed):  # a refusal is a deal, too
            self.client(buyer).call("deals.buy", offer=lot.offer, max_price=str(lot.price_wei))
        deals = self.client(buyer).call("deals.list")["items"]
        return str(next(deal["deal"] for deal in deals if deal["offer"] == lot.offer))

    def until(self, name: str, deal: str, *states: str) -> dict[str, Any]:
        """The deal as soon as it is in one of the states; says where it stood when it never came there."""
        seen: dict[str, Any] = {}

        def there() -> bool:
            with suppress(CallFailed):  # a seller may not have read of the lock yet
                seen.update(self.client(name).call("deals.get", deal=deal))
            return seen.get("state") in states or bool(seen.get("over"))

        try:
            wait_for(there, f"{' or '.join(states)} at {name}", PATIENCE_S)
        except TimeoutError as err:
            raise AssertionError(f"{err}: {seen}; {self.cluster.words(name)}") from err
        assert seen["state"] in states, (seen["state"], seen["reason"])
        return seen

    def sale(self, deal: dict[str, Any]) -> str:
        """What the seller calls a buyer's deal."""
        return f"sale-{deal['sale']}"

    # --- money ---

    def purse(self, name: str) -> Purse:
        """What the chain says a node's account has."""
        who, view = self.address(name), self.cluster.view
        free, *_ = view("bank", "accounts", who)
        return Purse(
            token_wei=int(view("token", "balanceOf", who)),
            credit_wei=int(view("sale", "credit", who)) + int(view("rewards", "credit", who)),
            deposit_wei=int(free),
            native_wei=int(self.cluster.chain("eth_getBalance", who, "latest"), 16),
        )

    def terms(self, lot: Lot) -> dict[str, Any]:
        """An offer by the contract's own account of it."""
        names = ("seller", "dataset", "price", "bond", "root", "cells", "max_open", "open", "sold", "uncollected")
        values = self.cluster.view("sale", "offers", lot.number)
        return dict(zip(names, values, strict=False))

    def bond(self, lot: Lot) -> int:
        return int(self.terms(lot)["bond"])

    def faults(self, seller: str) -> int:
        """How many disputes a seller has lost, as the chain counts them."""
        _, _, lost, *_ = self.cluster.view("reputation", "facts", self.address(seller))
        return int(lost)

    def events(self, contract: str, name: str) -> list[dict[str, Any]]:
        """All events of a kind that a contract ever emitted."""
        abi, address = self.cluster.abis[contract], self.cluster.devnet.facts()["contracts"][contract]
        query = {"address": address, "topics": ["0x" + abi.topics[name].hex()], "fromBlock": "0x0"}
        found = []
        for log in self.cluster.chain("eth_getLogs", query):
            event = abi.event([bytes.fromhex(topic[2:]) for topic in log["topics"]], bytes.fromhex(log["data"][2:]))
            assert event is not None  # the filter asked for this topic
            found.append(event[1])
        return found

    def fee(self, amount_wei: int) -> int:
        """The part of a price that is burnt."""
        return int(self.cluster.view("sale", "feeOf", amount_wei))

    def earned(self, lot: Lot) -> int:
        """What an offer's sales brought its seller and he has not collected: what is held back is his, too."""
        views = self.cluster.abis["sale"].functions
        return sum(int(self.cluster.view("sale", view, lot.number)) for view in ("earned", "held") if view in views)

    def assert_balanced(self) -> None:
        books = self.cluster.audit()
        assert books.balanced, books
