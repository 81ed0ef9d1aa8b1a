"""Four daemons with everything in motion at once, and what must be true when they have come to rest.

    with open_town(seed) as town:
        with town.busy():            # offers, deals, paid calls, settlements, claims, ratings, from as many threads
            …                        # kill whom you like
        town.rest()
        print(town.reckon())         # raises AssertionError when a coin or a record is not where it belongs

A command whose node dies of it is no error; what it began is taken up by the node, or was never begun.
"""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from contracts import blocking
from contracts.bindings.sale import SaleState
from tests.e2e.goods import goods, vocabulary
from tests.support.client import CallFailed, Client
from tests.support.cluster import TOKEN, Cluster, open_cluster, wait_for
from tests.support.works import BUILDER, CONTRIBUTOR, DOMAIN, GOODS, MOODS, OWN, Works

TRADERS = ("east", "west")
NAMES = (CONTRIBUTOR, BUILDER, *TRADERS)
CALLERS = (CONTRIBUTOR, *TRADERS)
LOTS = 100  # of each trader, to be published while the town is busy
EACH = 5  # records a lot
REST_S = 600
STILL_S = 8  # nothing moved for so long: something waits for a deadline
LEAP_S = 1_300  # of chain time; three of them are past every deadline of a sale
DEPOSIT_WEI = 100 * TOKEN
DISTRIBUTOR = {"rewards.distribute": "true"}  # the builder also proposes who is rewarded for rating models
BOUGHT = {SaleState.PAID: "settled", SaleState.REFUNDED: "refunded"}
SOLD = {SaleState.PAID: "paid", SaleState.REFUNDED: "refunded"}
GONE = (OSError, ValueError, AttributeError)  # what a connection that ends in the middle of a call can be

Trade = Callable[[str, random.Random], bool]


class Town:
    """The nodes and their business."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.done: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self._seed = seed
        self._rated: set[str] = set()
        self._stop = threading.Event()
        own, first = goods(["own"], OWN, seed + 1), goods(["first"], GOODS, seed)
        self.works = Works(cluster, [*first["first"], *own["own"]])
        self._lots = {name: [f"{name}-{n}" for n in range(LOTS)] for name in TRADERS}
        for number, name in enumerate(TRADERS):
            node = cluster.start(name)
            node.call("domains.follow", domain=DOMAIN)
            items = [item for lot in goods(self._lots[name], EACH, seed + 2 + number).values() for item in lot]
            put = node.call("collect.put", domain=DOMAIN, items=items, licence="CC0-1.0", consent="I wrote these")
            assert put["records"] > 0.9 * len(items), put  # by chance two are alike
            node.call("wallet.deposit", amount=str(DEPOSIT_WEI))
        self._next = dict.fromkeys(TRADERS, 0)

    def start(self, name: str, *, ready: bool = True) -> None:
        """A node's next life."""
        self.cluster.start(name, ready=ready, settings=DISTRIBUTOR if name == BUILDER else None)

    # --- business ---

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Everybody at work, each on his own thread."""
        work = [(name, what) for name in NAMES for what in self._trades(name)]
        threads = [
            threading.Thread(target=self._keep_at, args=(name, what, self._seed * 100 + number), daemon=True)
            for number, (name, what) in enumerate(work)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(150)

    def _trades(self, name: str) -> list[Trade]:
        trades: list[Trade] = [self._buy, self._claim, self._rate]
        if name in TRADERS:
            trades += [self._publish, self._withdraw]
        if name in CALLERS:
            trades += [self._call, self._rate_model]
        if name == BUILDER:
            trades.append(self._settle)
        return trades

    def _keep_at(self, name: str, what: Trade, seed: int) -> None:
        dice = random.Random(seed)
        while not self._stop.wait(dice.uniform(0.1, 1.2)):
            try:
                self.done[what.__name__.strip("_")] += what(name, dice)
            except CallFailed as err:
                self.refusals[f"{what.__name__.strip('_')}: {err.kind}"] += 1
            except GONE:
                self.done["cut off"] += 1

    def _publish(self, name: str, dice: random.Random) -> bool:
        if self._next[name] >= LOTS or dice.random() < 0.7:
            return False
        lot, self._next[name] = self._lots[name][self._next[name]], self._next[name] + 1
        self._node(name).call("offers.publish", domain=DOMAIN, title=lot, filter={"labels": {"lot": lot}})
        return True

    def _withdraw(self, name: str, dice: random.Random) -> bool:
        if dice.random() < 0.95:
            return False
        mine = self._node(name).call("offers.list", mine=True, limit=1_000)["items"]
        if mine:
            self._node(name).call("offers.withdraw", offer=dice.choice(mine)["offer"])
        return bool(mine)

    def _buy(self, name: str, dice: random.Random) -> bool:
        node = self._node(name)
        mine = {offer["offer"] for offer in node.call("offers.list", mine=True, limit=1_000)["items"]}
        bought = {deal["offer"] for deal in node.call("deals.list", limit=1_000)["items"]}
        there = [o for o in node.call("offers.list", limit=1_000)["items"] if o["offer"] not in mine | bought]
        if there:
            offer = dice.choice(there)
            most = offer["price_wei"] if dice.random() < 0.95 else "1"  # now and then one who will not pay
            node.call("deals.buy", offer=offer["offer"], max_price=most)
        return bool(there)

    def _call(self, name: str, dice: random.Random) -> bool:
        self._node(name).call("models.call", model=self.works.model, input=dice.choice(list(MOODS.values())))
        return True

    def _settle(self, name: str, dice: random.Random) -> bool:
        return dice.random() < 0.4 and bool(self._node(name).call("models.settle")["items"])

    def _claim(self, name: str, dice: random.Random) -> bool:
        return dice.random() < 0.3 and bool(self._node(name).call("rewards.claim")["items"])

    def _rate(self, name: str, dice: random.Random) -> bool:
        """A purchase, each once by whoever remembers; a node that died of it may be asked again."""
        node = self._node(name)
        deals = [d for d in node.call("deals.list", limit=1_000)["items"] if d["role"] == "buyer"]
        settled = [deal for deal in deals if deal["state"] == "settled" and deal["deal"] not in self._rated]
        if not settled:
            return False
        deal = dice.choice(settled)
        node.call("feedback.give", subject=deal["offer"], receipt=deal["deal"], rating=dice.randint(1, 5))
        self._rated.add(deal["deal"])
        return True

    def _rate_model(self, name: str, dice: random.Random) -> bool:
        if dice.random() < 0.9:
            return False
        self._node(name).call("feedback.give", subject=self.works.model, receipt="any", rating=dice.randint(1, 5))
        return True

    def _node(self, name: str) -> Client:
        return self.cluster.client(name)

    # --- rest ---

    def rest(self) -> None:
        """Everybody alive; then wait until every deal is over and every transaction has ended, and settle."""
        for name in NAMES:
            self.cluster.disarm(name)
            if not self.cluster.alive(name):
                self.start(name)
        self._finish("the deals", self._open_deals)
        wait_for(lambda: self._settled(), "the last settlement", REST_S)
        self._finish("the transactions", self._open_transactions)

    def _finish(self, what: str, left: Callable[[], object]) -> None:
        """Wait for what is under way; when nothing moves, the chain's clock does."""
        deadline, seen, since = time.monotonic() + REST_S, None, time.monotonic()
        while now := left():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} are not over: {now}")
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > STILL_S:
                self.cluster.leap(LEAP_S)
                since = time.monotonic()
            time.sleep(0.3)

    def _open_deals(self) -> list[Any]:
        sql = "SELECT deal, role, state, reason FROM deals WHERE NOT over ORDER BY deal"
        return [(name, *row) for name in NAMES for row in self._rows(name, sql)]

    def _open_transactions(self) -> list[Any]:
        sql = "SELECT key FROM transactions WHERE state = 'open' ORDER BY key"
        return [(name, *row) for name in NAMES for row in self._rows(name, sql)]

    def _settled(self) -> bool:
        """One more call of everybody, so that no half of one is left; then everything to the chain."""
        try:
            for name in CALLERS:
                self._node(name).call("models.call", model=self.works.model, input="elegant")
            self._node(BUILDER).call("models.settle")
        except CallFailed:
            return False
        return all(lane["cumulative"] == lane["settled"] for lane in self._lanes(BUILDER, "take").values())

    # --- reckoning ---

    def reckon(self) -> dict[str, Any]:
        """Compare the journals with one another and with the chain. Raises AssertionError."""
        books = self.cluster.audit()
        assert books.balanced, books
        assert self._open_deals() == []
        deals = self._reckon_sales()
        lost = self._reckon_lanes()
        offers = self._reckon_offers()
        rated = sum(self._rows(name, "SELECT count(*) FROM feedback")[0][0] for name in NAMES)
        waiting = [row for name in NAMES for row in self._rows(name, "SELECT * FROM feedback WHERE state = 'given'")]
        assert waiting == [], "a rating is half given"
        return {**deals, **lost, "offers": offers, "ratings": rated, "balanced": books.balanced}

    def _reckon_sales(self) -> dict[str, Any]:
        """Every sale on chain is one deal of its buyer and one of its seller; all three say how it ended."""
        chain = self._sales()
        bought, sold = self._ended("buyer"), self._ended("seller")
        assert set(bought) == set(sold) == set(chain), (set(chain) ^ set(bought), set(chain) ^ set(sold))
        for sale, outcome in chain.items():
            assert bought[sale][1] == BOUGHT[outcome], (sale, outcome, bought[sale], sold[sale])
            assert sold[sale][1] == SOLD[outcome], (sale, outcome, bought[sale], sold[sale])
        for name in NAMES:
            held = Counter(record["source"] for record in self._bought(name))
            for offer in [offer for buyer, state, offer in bought.values() if (buyer, state) == (name, "settled")]:
                self._assert_records(name, offer, held[f"offer:{offer}"])
        self._assert_moved(chain)
        states = [row[0] for name in NAMES for row in self._rows(name, "SELECT state FROM deals WHERE role = 'buyer'")]
        counts = Counter(states)
        assert set(counts) <= {"settled", "refunded", "refused"}, counts
        paid, refunded, refused = (counts[state] for state in ("settled", "refunded", "refused"))
        return {"deals": len(states), "paid": paid, "refunded": refunded, "refused": refused}

    def _sales(self) -> dict[str, SaleState]:
        """Every sale there ever was, with its state."""
        found: dict[str, SaleState] = {}
        for offer in range(1, int(self.cluster.view("sale", "offerCount")) + 1):
            sold = int(self.cluster.view("sale", "offers", offer)[8])
            for number in range(sold):
                sale = offer << 64 | number + 1
                found[str(sale)] = self._state(sale)
        return found

    def _state(self, sale: int) -> SaleState:
        return SaleState(self.cluster.view("sale", "sales", sale)[3])

    def _ended(self, role: str) -> dict[str, tuple[str, str, str]]:
        """Node, state and offer of each deal that has a sale; one sale is one deal."""
        found: dict[str, tuple[str, str, str]] = {}
        for name in NAMES:
            sql = f"SELECT sale, state, offer FROM deals WHERE role = '{role}' AND sale <> ''"
            for sale, state, offer in self._rows(name, sql):
                assert sale not in found, f"sale {sale} is two deals of a {role}"
                found[sale] = (name, state, offer)
        return found

    def _assert_records(self, name: str, offer: str, count: int) -> None:
        """As many as the deal says, and as the seller sealed."""
        (deal,) = [
            d for d in self._node(name).call("deals.list", limit=1_000)["items"] if d["offer"] == offer and d["sale"]
        ]
        sql = f"SELECT record_ids FROM publications WHERE offer = '{offer}'"
        ((sealed,),) = [row for seller in NAMES for row in self._rows(seller, sql)]
        assert count == deal["records"] == len(json.loads(sealed)), (name, offer)

    def _bought(self, name: str) -> list[dict[str, Any]]:
        """All records of a node that came from others."""
        held: list[dict[str, Any]] = []
        cursor = None
        while True:
            further: dict[str, Any] = {"after": cursor} if cursor else {}
            page = self._node(name).call("records.list", domain=DOMAIN, origin="bought", limit=500, **further)
            held += page["items"]
            cursor = page["next"]
            if cursor is None:
                return held

    def _assert_moved(self, chain: dict[str, SaleState]) -> None:
        """Between each wallet and the sale contract moved what the paid sales cost, once, and what it took to sell."""
        facts, abi = self.cluster.devnet.facts(), self.cluster.abis["token"]
        sale = facts["contracts"]["sale"]
        query = {"address": facts["contracts"]["token"], "topics": ["0x" + abi.topics["Transfer"].hex()],
                 "fromBlock": hex(facts["deployed_block"]), "toBlock": "latest"}  # fmt: skip
        spent: Counter[str] = Counter()
        for log in blocking.call(self.cluster.devnet.rpc(), "eth_getLogs", query):
            event = abi.event([bytes.fromhex(t[2:]) for t in log["topics"]], bytes.fromhex(log["data"][2:]))
            assert event is not None
            if event[1]["to"] == sale:
                spent[event[1]["from"]] += event[1]["value"]
        for name in NAMES:
            address = self._node(name).call("node.status")["address"]
            locked, bonds = self._locked(name), self._bonds(address)
            assert spent[address] == locked + bonds, (name, spent[address], locked, bonds)

    def _locked(self, name: str) -> int:
        """The prices of all sales of a node's own purchases."""
        sql = "SELECT sale FROM deals WHERE role = 'buyer' AND sale <> ''"
        return sum(int(self.cluster.view("sale", "offers", int(sale) >> 64)[2]) for (sale,) in self._rows(name, sql))

    def _bonds(self, address: str) -> int:
        """What a wallet put in to back its offers."""
        abi, facts = self.cluster.abis["sale"], self.cluster.devnet.facts()
        query = {"address": facts["contracts"]["sale"], "topics": ["0x" + abi.topics["Offered"].hex()],
                 "fromBlock": hex(facts["deployed_block"]), "toBlock": "latest"}  # fmt: skip
        total = 0
        for log in blocking.call(self.cluster.devnet.rpc(), "eth_getLogs", query):
            event = abi.event([bytes.fromhex(t[2:]) for t in log["topics"]], bytes.fromhex(log["data"][2:]))
            assert event is not None
            total += event[1]["bond"] if event[1]["seller"] == address else 0
        return total

    def _reckon_lanes(self) -> dict[str, Any]:
        """What each caller promised, the provider holds and the chain has paid; all of it was answered or lost."""
        taken = self._lanes(BUILDER, "take")
        lost = calls = 0
        for name in CALLERS:
            address = self._node(name).call("node.status")["address"]
            (promised,) = self._lanes(name, "pay").values()
            assert promised["cumulative"] == promised["settled"] == taken[address]["cumulative"], (name, promised)
            assert taken[address]["settled"] == promised["settled"]
            ((answered, gone, count),) = self._rows(name, "SELECT answered_wei, lost_wei, calls FROM model_tabs")
            assert int(answered) + int(gone) == int(promised["cumulative"]), (name, answered, gone, promised)
            lost, calls = lost + int(gone), calls + count
        return {"calls": calls, "lost_wei": lost}

    def _lanes(self, name: str, side: str) -> dict[str, dict[str, Any]]:
        lanes = self._node(name).call("wallet.lanes")["items"]
        return {lane["payer"]: lane for lane in lanes if lane["side"] == side}

    def _reckon_offers(self) -> int:
        """Every dataset and offer on chain is one publication of somebody, and on the market."""
        sql = "SELECT dataset, offer_no, state, offer FROM publications WHERE dataset > 0"
        rows = [row for name in NAMES for row in self._rows(name, sql)]
        assert len({row[0] for row in rows}) == len(rows) == int(self.cluster.view("registry", "datasetCount"))
        assert len({row[1] for row in rows}) == len(rows) == int(self.cluster.view("sale", "offerCount"))
        assert {row[2] for row in rows} <= {"announced", "withdrawn"}, rows
        return len(rows)

    def _rows(self, name: str, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self._journal(name)}?mode=ro", uri=True, timeout=10)) as conn:
            return conn.execute(sql).fetchall()

    def _journal(self, name: str) -> Path:
        (file,) = self.cluster.devnet.places.node(name).datadir.rglob("journal.db")
        return file


@contextmanager
def open_town(seed: int) -> Iterator[Town]:
    """A town on a cluster of its own."""
    with open_cluster(vocabulary()) as cluster:
        yield Town(cluster, seed)
