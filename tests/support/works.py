"""A model that earns, on a cluster: whose records it learnt from, who built it, who calls it and pays by voucher.

works = Works(cluster)        # a sale, a training, a publication, a deposit: about three seconds
works.call()                  # the contributor is also the caller
works.settle()                # the builder brings the vouchers to the chain
works.assert_exact()
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Any

from protocols.inference.card import lane
from tests.support.client import CallFailed, Client
from tests.support.cluster import TOKEN, Cluster, wait_for

DOMAIN = "works"
CONTRIBUTOR, BUILDER = "contributor", "builder"
NAMES = (CONTRIBUTOR, BUILDER)
CALL_WEI = TOKEN // 20
DEPOSIT_WEI = 200 * TOKEN
GOODS, OWN = 120, 60  # most of what it learns is bought, as the contract demands
MOODS = {"good": "I love it, soft and elegant.", "bad": "A tight and cheap thing."}


class Works:
    """Both nodes and their model."""

    def __init__(self, cluster: Cluster, items: Iterable[dict[str, str]]) -> None:
        """`items` are GOODS + OWN + whatever is to be sold later, each with a `lot`."""
        self.cluster = cluster
        self.whole()
        contributor, builder = self.contributor, self.builder
        for node in (contributor, builder):
            node.call("domains.follow", domain=DOMAIN)
        first, own, later = _parts(list(items))
        for node, part in ((contributor, [*moody(first), *later]), (builder, moody(own))):
            put = node.call("collect.put", domain=DOMAIN, items=part, licence="CC0-1.0", consent="I wrote these")
            assert put["records"] == len(part), put
        offer = self.publish(first[0]["lot"])
        self.buy(offer)
        job = builder.call("models.train", domain=DOMAIN, task="classification", filter={"label": "mood"})
        self.model: str = builder.finish(job)["model"]
        builder.call("models.publish", model=self.model, price=str(CALL_WEI), force=True)
        wait_for(self._card_is_there, "the model at its caller")
        contributor.call("wallet.deposit", amount=str(DEPOSIT_WEI))

    def whole(self) -> None:
        """Both alive and nothing armed, however the last test ended."""
        for name in NAMES:
            self.cluster.disarm(name)
            if not self.cluster.alive(name):
                self.cluster.start(name)

    # --- what they do; whoever is called may die of it ---

    def call(self) -> None:
        """One paid call of the model."""
        with suppress(OSError, CallFailed):
            self.contributor.call("models.call", model=self.model, input="soft and elegant")

    def call_answered(self) -> bool:
        """One paid call of the model; whether it was answered."""
        before = self.answered_wei
        self.call()
        return self.answered_wei > before

    def settle(self) -> None:
        """The vouchers to the chain."""
        with suppress(OSError, CallFailed):
            self.builder.call("models.settle", model=self.model)

    def publish(self, lot: str) -> dict[str, Any]:
        """An offer of the contributor's, known to the builder."""
        wanted = {"labels": {"lot": lot}}
        offer: dict[str, Any] = self.contributor.call("offers.publish", domain=DOMAIN, title=lot, filter=wanted)
        wait_for(lambda: offer["offer"] in {o["offer"] for o in self.builder.call("offers.list")["items"]}, "the offer")
        self.cluster.mine(3)  # the block whose hash chooses the samples
        return offer

    def buy(self, offer: dict[str, Any]) -> str:
        """A settled purchase of the builder's; the deal."""
        begun = self.builder.call("deals.buy", offer=offer["offer"], max_price=offer["price_wei"])
        deal = self.builder.await_deal(begun["deal"])
        assert deal["state"] == "settled", deal
        return str(deal["deal"])

    # --- what is true ---

    def owed(self, name: str) -> int:
        """What the contracts owe a node, by its own listing."""
        return sum(int(one["amount_wei"]) for one in self.cluster.client(name).call("rewards.list")["items"])

    def sent(self, name: str) -> bool:
        """Whether every transaction of a node has ended."""
        return all(one["state"] != "open" for one in self.cluster.client(name).call("wallet.history")["items"])

    def assert_exact(self) -> None:
        """Promised, taken, paid on chain and marked as paid are one sum: what was answered, and what was lost."""
        promised, taken = self._lane(CONTRIBUTOR, "pay"), self._lane(BUILDER, "take")
        assert promised["cumulative"] == taken["cumulative"] == promised["settled"] == taken["settled"]
        answered, lost = self._tab()
        assert answered + lost == int(promised["cumulative"])
        self.assert_balanced()

    def assert_balanced(self) -> None:
        books = self.cluster.audit()
        assert books.balanced, books

    @property
    def promised_wei(self) -> int:
        """What the caller promised by voucher."""
        return int(self._lane(CONTRIBUTOR, "pay")["cumulative"])

    @property
    def paid_wei(self) -> int:
        """What of it the chain has paid."""
        return int(self._lane(CONTRIBUTOR, "pay")["settled"])

    @property
    def lost_wei(self) -> int:
        """What the caller paid for answers that he never saw."""
        return self._tab()[1]

    @property
    def answered_wei(self) -> int:
        """What the caller paid for answers."""
        return self._tab()[0]

    @property
    def contributor(self) -> Client:
        return self.cluster.client(CONTRIBUTOR)

    @property
    def builder(self) -> Client:
        return self.cluster.client(BUILDER)

    def _lane(self, name: str, side: str) -> dict[str, Any]:
        lanes = self.cluster.client(name).call("wallet.lanes")["items"]
        (found,) = [one for one in lanes if (one["side"], one["lane"]) == (side, str(lane(self.model)))]
        return dict(found)

    def _tab(self) -> tuple[int, int]:
        """Answered and lost, as the caller's journal has it."""
        (file,) = self.cluster.devnet.places.node(CONTRIBUTOR).datadir.rglob("journal.db")
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as conn:
            sql = "SELECT answered_wei, lost_wei FROM model_tabs WHERE model = ?"
            answered, lost = conn.execute(sql, (self.model,)).fetchone() or (0, 0)
        return int(answered), int(lost)

    def _card_is_there(self) -> bool:
        return any(one["model"] == self.model for one in self.contributor.call("models.list")["items"])


def moody(items: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """The items with something to learn: a last sentence, and a label that follows from it."""
    moods = list(MOODS)
    return [
        {**item, "text": f"{item['text']} {MOODS[mood]}", "mood": mood}
        for item, mood in ((item, moods[n % len(moods)]) for n, item in enumerate(items))
    ]


def _parts(items: list[dict[str, str]]) -> tuple[list[dict[str, str]], ...]:
    return items[:GOODS], items[GOODS : GOODS + OWN], items[GOODS + OWN :]
