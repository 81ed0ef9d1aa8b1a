"""One whole turn of the flywheel over the public RPC: collect, offer, match, sample, buy, train, serve, split, feed
back.

The demo runs it at full size, an end-to-end test runs it small. Each stage looks at what the nodes and the chain say
afterwards and fails when its phase did not truly do its work; nothing of the report is assumed.
"""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.client import Client

TOKEN = 10**18
DOMAIN = "fashion"
WANT = "honest reviews of dresses and tops: how they fit, how the fabric feels"
QUESTIONS = (
    "too small in the shoulders",
    "soft sweater that keeps its shape",
    "dress for a summer wedding",
    "runs large, order a size down",
    "cheap fabric that itches",
)

Say = Callable[[str], None]


class PhaseFailed(Exception):
    """A phase did not do what it is there for."""


@dataclass
class Market:
    """Who takes part. `contributors` and `builder` come with the files they own."""

    contributors: list[tuple[Client, Path]]
    builder: tuple[Client, Path]
    consumer: Client
    console_url: str
    console_token: str


@dataclass
class Turn:
    """The turn in progress; `report` grows stage by stage."""

    market: Market
    say: Say
    calls: int = 20
    price: str = str(TOKEN // 20)
    report: dict[str, Any] = field(default_factory=dict)
    offers: list[dict[str, Any]] = field(default_factory=list)
    deals: list[dict[str, Any]] = field(default_factory=list)
    model: str = ""
    receipt: str = ""

    def run(self) -> dict[str, Any]:
        """All stages in order; the report."""
        stages = (self.collect, self.demand, self.publish, self.match, self.sample, self.buy, self.train, self.serve,
                  self.split, self.feedback)  # fmt: skip
        for stage in stages:
            began = time.monotonic()
            self.say(f"{stage.__name__} …")
            said = stage()
            self.say(f"{stage.__name__} ✓ {time.monotonic() - began:5.1f} s  {said}")
        return self.report

    # --- 1 collect, 2 refine ---

    def collect(self) -> str:
        with ThreadPoolExecutor() as pool:
            reports = list(pool.map(self._collect, [*self.market.contributors, self.market.builder]))
        languages: dict[str, int] = {}
        for one in reports:
            for language, count in one["languages"].items():
                languages[language] = languages.get(language, 0) + count
        total = {key: sum(one[key] for one in reports) for key in ("items", "records")}
        total["redactions"] = sum(sum(one["redactions"].values()) for one in reports)
        duplicates = sum(one["duplicates"] + one["near_duplicates"] for one in reports)
        require(total["records"] > 0 and duplicates > 0, "collection found no records or no duplicates")
        require(total["redactions"] > 0, "nothing was redacted although personal data was planted")
        self.report["collect"] = {**total, "duplicates": duplicates, "languages": languages}
        return f"{total['items']} items, {total['records']} records, {duplicates} duplicates"

    def _collect(self, member: tuple[Client, Path]) -> dict[str, Any]:
        node, path = member
        job = node.call(
            "collect.add", source=str(path), domain=DOMAIN, licence="CC0-1.0", consent="I wrote these reviews myself"
        )
        result: dict[str, Any] = node.finish(job)
        return result

    # --- demand meets supply ---

    def demand(self) -> str:
        builder = self.market.builder[0]
        demand = builder.call("demands.post", text=WANT, domain=DOMAIN, max_price=str(10_000 * TOKEN))
        self.report["match"] = {"demand": demand["demand"]}
        return demand["demand"][:16]

    def publish(self) -> str:
        builder = self.market.builder[0]
        with builder.events("catalog") as heard, ThreadPoolExecutor() as pool:
            told = list(pool.map(self._publish, [node for node, _ in self.market.contributors]))
            arrived = first_arrivals(heard, {offer["offer"] for offer, _ in told})
        self.offers = [offer for offer, _ in told]
        delays = [1_000 * (arrived[offer["offer"]] - at) for offer, at in told]
        first = self.offers[0]
        quote = builder.call("offers.get", offer=first["offer"])["quote_wei"]
        require(int(quote) > 0, "the oracle quotes nothing")
        self.report["refine"] = {"quality": first["quality"], "quote_wei": quote}
        self.report["offer"] = {
            "offer": first["offer"],
            "cid": first["cid"],
            "root": first["root"],
            "gossip_ms": round(max(0.0, max(delays)), 1),
        }
        return f"{len(told)} offers, heard {max(delays):.0f} ms after they were told"

    def _publish(self, node: Client) -> tuple[dict[str, Any], float]:
        with node.events("offers") as own:
            title = f"Reviews of {node.name}"
            offer: dict[str, Any] = node.call("offers.publish", domain=DOMAIN, title=title, timeout_s=180)
            told = next(event["heard_at"] for event in own if event["data"]["offer"] == offer["offer"])
        return offer, told

    def match(self) -> str:
        builder = self.market.builder[0]
        matches = builder.call("demands.matches", demand=self.report["match"]["demand"])["items"]
        require(len(matches) >= len(self.offers), "the demand does not match the offers")
        found = builder.call("search.run", query=QUESTIONS[0], domain=DOMAIN, limit=5)
        foreign = [hit for hit in found["items"] if hit["offer"]]
        require(found["asked"] > 0 and len(foreign) > 0, "no peer answered the search")
        self.report["match"] |= {"score": matches[0]["score"], "peers_asked": found["asked"]}
        return f"score {matches[0]['score']:.3f}, {found['asked']} peers asked"

    # --- 3 sample, buy, train ---

    def sample(self) -> str:
        builder = self.market.builder[0]
        sample = builder.call("deals.sample", offer=self.offers[0]["offer"])
        require(sample["ok"], f"the sample was refused: {sample['reasons']}")
        self.report["sample"] = {"cells": sample["cells"], "ok": sample["ok"]}
        return f"{sample['cells']} of {self.offers[0]['cells']} cells opened"

    def buy(self) -> str:
        builder = self.market.builder[0]
        begun = [builder.call("deals.buy", offer=offer["offer"], max_price=offer["price_wei"]) for offer in self.offers]
        self.deals = [builder.await_deal(deal["deal"]) for deal in begun]
        for deal in self.deals:
            require(deal["state"] == "settled", f"a deal ended {deal['state']}: {deal['reason']}")
        bought = builder.call("records.stats")["origins"].get("bought", 0)
        require(bought == sum(deal["records"] for deal in self.deals) > 0, "the bought records are not in the shard")
        first = self.deals[0]
        self.report["deal"] = {
            "deal": first["deal"],
            "bytes": first["bytes"],
            "price_wei": first["price_wei"],
            "txs": [tx["hash"] for tx in first["txs"]],
            "gas": first["gas"],
            "state": first["state"],
        }
        return f"{bought} records in {len(self.deals)} deals, {first['gas']:,} gas a deal for the buyer"

    def train(self) -> str:
        builder = self.market.builder[0]
        began = time.monotonic()
        trained = builder.finish(builder.call("models.train", domain=DOMAIN, task="retrieval"))
        seconds = time.monotonic() - began
        self.model = trained["model"]
        judged = builder.call("models.evaluate", model=self.model)
        before, after = judged["before"]["mean"], judged["after"]["mean"]
        self.report["train"] = {
            "model": self.model,
            "metric": judged["metric"],
            "before": before,
            "after": after,
            "held_out": judged["held_out"],
            "seconds": round(seconds, 2),
        }
        require(after > before, "training made the model no better on the held-out part")
        builder.call("models.publish", model=self.model, price=self.price)
        return f"{judged['metric']} {before:.3f} → {after:.3f} on {judged['held_out']} held out"

    # --- 4 consume ---

    def serve(self) -> str:
        consumer, builder = self.market.consumer, self.market.builder[0]
        wait_until(
            lambda: any(m["model"] == self.model for m in consumer.call("models.list")["items"]), "the model card"
        )
        consumer.call("wallet.deposit", amount=str(100 * TOKEN))
        times = []
        for number in range(self.calls):
            began = time.monotonic()
            answer = consumer.call("models.call", model=self.model, input=QUESTIONS[number % len(QUESTIONS)])
            times.append(1_000 * (time.monotonic() - began))
            require(len(answer["outputs"][0]) > 0, "a paid call brought nothing")
            self.receipt = answer["receipts"][-1]
        self._embed_over_http()
        batches = builder.call("models.settle", model=self.model)["items"]
        require(len(batches) == 1 and int(batches[0]["paid_wei"]) > 0, "the calls were not settled in one batch")
        settled = batches[0]
        self.report["serve"] = {
            "calls": self.calls + 1,
            "p50_ms": round(statistics.median(times), 1),
            "vouchers": settled["vouchers"],
            "settle_tx": settled["hash"],
            "gas": settled["gas"],
        }
        return f"{self.calls + 1} paid calls, p50 {statistics.median(times):.0f} ms, settled in one transaction"

    def _embed_over_http(self) -> None:
        body = json.dumps({"model": self.model, "input": QUESTIONS[0]}).encode()
        headers = {"Authorization": f"Bearer {self.market.console_token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.market.console_url}/v1/embeddings", body, headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer = json.load(reply)
        require(len(answer["data"][0]["embedding"]) > 0, "/v1/embeddings brought no vector")

    def split(self) -> str:
        paid: dict[str, str] = {}
        for node, _ in self.market.contributors:
            claims = node.call("rewards.claim")["items"]
            shares = [claim for claim in claims if claim["source"].startswith("model:")]
            require(len(shares) > 0, f"{node.name} got no share of the model's revenue")
            shown = next((one for one in node.call("insights.earnings")["models"] if one["model"] == self.model), {})
            require(shown.get("datasets"), f"{node.name} does not see his dataset in the model")
            paid[node.call("node.status")["address"]] = str(sum(int(claim["amount_wei"]) for claim in shares))
        builder = self.market.builder[0].call("rewards.claim")["items"]
        own = sum(int(claim["amount_wei"]) for claim in builder if claim["source"].startswith("model:"))
        require(own > 0, "the builder got no share of his model's revenue")
        weights = self.market.consumer.call("models.get", model=self.model)["weights"]
        require(sum(weight["weight_ppm"] for weight in weights) == 1_000_000, "the weights are not whole")
        require(
            all(weight["weight_ppm"] >= weight["fact_ppm"] // 4 for weight in weights), "a weight is below its floor"
        )
        self.report["split"] = {"builder_wei": str(own), "contributors": paid, "datasets": weights}
        return ", ".join(f"{int(wei) / TOKEN:.4f}" for wei in [str(own), *paid.values()]) + " tokens"

    # --- 5 feed back ---

    def feedback(self) -> str:
        builder, consumer = self.market.builder[0], self.market.consumer
        offer, deal = self.offers[0]["offer"], self.deals[0]["deal"]
        before = builder.call("offers.get", offer=offer)["quote_wei"]
        given = [
            builder.call(
                "feedback.give", subject=offer, receipt=deal, rating=5, comment="as described", outcome="used"
            ),
            consumer.call("feedback.give", subject=self.model, receipt=self.receipt, rating=4, comment="finds it"),
        ]
        after = builder.call("offers.get", offer=offer)["quote_wei"]
        direct = sum(int(one["reward_wei"]) for one in given)
        require(direct > 0, "the buyer was not rewarded for rating what he bought")
        by_epoch = self._reward_by_epoch()
        require(after != before, "feedback did not move the price")
        seller = self.market.contributors[0][0]
        wait_until(lambda: len(seller.call("feedback.list", subject=offer)["items"]) == 1, "the rating at its seller")
        heard = seller.call("feedback.list", subject=offer)["items"][0]
        require(heard["ticket_ok"], "the seller cannot confirm the ticket of a rating")
        wait_until(lambda: seller.call("offers.get", offer=offer)["stars"] > 3, "the stars of a rated offer")
        self.report["feedback"] = {
            "items": len(given),
            "reward_wei": str(direct + by_epoch),
            "epoch_wei": str(by_epoch),
            "quote_before_wei": before,
            "quote_after_wei": after,
        }
        return f"quote {int(before) / TOKEN:.3f} → {int(after) / TOKEN:.3f} tokens"

    def _reward_by_epoch(self) -> int:
        """What the consumer gets for rating the model he calls: some node proposes an epoch, he claims from it."""
        consumer = self.market.consumer
        wait_until(
            lambda: any(owed["source"] == "epochs" for owed in consumer.call("rewards.list")["items"]),
            "an epoch that rewards the consumer's rating",
        )
        claims = consumer.call("rewards.claim", timeout_s=60)["items"]
        found = sum(int(claim["amount_wei"]) for claim in claims if claim["source"] == "epochs")
        credited = sum(int(claim["amount_wei"]) for claim in claims if claim["source"] == "feedback")
        require(0 < found <= credited, "the epoch's reward was not paid out")
        return found


def require(true: object, sentence: str) -> None:
    """Fail the phase with `sentence` unless `true`."""
    if not true:
        raise PhaseFailed(sentence)


def wait_until(true: Callable[[], object], what: str, timeout_s: float = 30) -> None:
    """Poll until something is so. Raises PhaseFailed."""
    deadline = time.monotonic() + timeout_s
    while not true():
        require(time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.05)


def first_arrivals(events: Any, wanted: set[str]) -> dict[str, float]:
    """When each wanted item was heard of."""
    arrived: dict[str, float] = {}
    for event in events:
        if event["data"]["id"] in wanted:
            arrived.setdefault(event["data"]["id"], event["heard_at"])
        if len(arrived) == len(wanted):
            return arrived
    raise PhaseFailed("the event stream ended")
