"""A consumer sells what he wants, with his consent, to a producer who then offers it: daemons, and `kill -9`.

All through public methods and the command line; what money moved is read from the chain.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from tests.e2e.goods import goods
from tests.support.client import Client
from tests.support.cluster import TOKEN, Cluster, wait_for
from tests.support.killing import PowerCut, around

pytestmark = [pytest.mark.chain, pytest.mark.e2e]

CONSUMER, PRODUCER = "wishful", "weaver"
PRICE_WEI = 2 * TOKEN + 3
ANY = str(10**24)
RECORDS = 80  # enough that a shard measures its own scale of closeness


def wishes(domain: str) -> list[str]:
    """A dozen different wants, in the words of the goods."""
    return [f"wanted: {item['text']}" for item in goods([domain], 12, seed=77)[domain]]


def open_shop(cluster: Cluster, domain: str) -> tuple[Client, Client]:
    """The consumer with his wants and the producer with his records, who have met."""
    consumer, producer = (cluster.start(name) if not cluster.alive(name) else cluster.client(name)
                          for name in (CONSUMER, PRODUCER))  # fmt: skip
    for node in (consumer, producer):
        node.call("domains.follow", domain=domain)
    for text in wishes(domain):
        consumer.call("demands.post", text=text, domain=domain, max_price=ANY)
    items = goods([domain], RECORDS, seed=31)[domain]
    producer.call("collect.put", domain=domain, items=items, licence="CC0-1.0", consent="I wrote these")
    return consumer, producer


def sell(cluster: Cluster, consumer: Client, producer: Client, domain: str) -> None:
    said = cluster.schwung(CONSUMER, "--json", "profiles", "sell", domain, "--price", str(PRICE_WEI))
    assert (said.code, said.err) == (0, "")
    assert (said.json["sources"], said.json["advertised"]) == (["demands"], True)
    wait_for(lambda: producer.call("profiles.list", domain=domain, mine=False)["items"], "the advert at the producer")


def lane(client: Client, side: str) -> int:
    """What stands on the lane between the two, in base units."""
    found = [one for one in client.call("wallet.lanes")["items"] if one["side"] == side]
    return sum(int(one["cumulative"]) for one in found)


def test_a_want_is_sold_seen_served_and_paid_to_the_unit(cluster: Cluster) -> None:
    domain = "weaving"
    consumer, producer = open_shop(cluster, domain)
    assert producer.call("profiles.list", domain=domain)["items"] == [], "off by default"
    producer.call("wallet.deposit", amount=str(10 * TOKEN))
    sell(cluster, consumer, producer, domain)

    shown = consumer.call("profiles.show", domain=domain)
    assert shown["on_sale"]
    assert sum(want["wants"] for want in shown["profile"]["wants"]) == len(wishes(domain))
    assert not any(text in str(shown["profile"]) for text in wishes(domain))

    deposited, held = int(producer.call("wallet.balance")["deposited"]), cluster.balance(CONSUMER)
    said = cluster.schwung(PRODUCER, "--json", "profiles", "query", domain, "--budget", "5tok")
    assert (said.code, said.err) == (0, "")
    found = said.json
    assert (found["paid"], found["profiles"], found["sellers"][0]["state"]) == (str(PRICE_WEI), 1, "bought")
    assert sum(want["consumers"] for want in found["items"]) == len(found["items"])
    best = max(found["items"], key=lambda want: want["unoffered"])
    assert 0 < best["unoffered"] <= best["records"], "you could sell so many records to this want"
    assert producer.call("records.get", id=best["nearest"])["domain"] == domain

    offer = producer.call("offers.publish", domain=domain, title="Woven as it is wanted")["offer"]
    demand = consumer.call("demands.list", domain=domain, mine=True)["items"][0]["demand"]

    def met() -> bool:
        return offer in {one["offer"] for one in consumer.call("demands.matches", demand=demand)["items"]}

    wait_for(met, "the offer to meet the demand")
    after = producer.call("profiles.query", domain=domain)
    assert (after["paid"], sum(want["unoffered"] for want in after["items"])) == ("0", 0)

    consumer.call("wallet.settle")
    wait_for(lambda: cluster.balance(CONSUMER) == held + PRICE_WEI, "the profile's price, to the unit")
    assert deposited - int(producer.call("wallet.balance")["deposited"]) == PRICE_WEI
    assert consumer.call("profiles.show", domain=domain)["earned_wei"] == str(PRICE_WEI)
    assert cluster.audit().balanced

    stopped = cluster.schwung(CONSUMER, "--json", "profiles", "stop", domain)
    assert stopped.json == {"domain": domain, "stopped": True}
    wait_for(lambda: not producer.call("profiles.list", domain=domain)["items"], "the end of the advert")
    refused = producer.call("profiles.query", domain=domain, budget=ANY)
    assert (refused["paid"], refused["profiles"]) == ("0", 1), "what was sold stays sold, and nothing more is"
    (ended,) = consumer.call("profiles.show", domain=domain)["consents"]
    assert ended["given_at"] <= ended["ended_at"]


BUYER_STEPS = ("ProfilePurchases.begin", "Lanes._promise", "ProfilePurchases.came", "Promises.received")
SELLER_STEPS = ("Till._take", "ProfileSales.charge")


@pytest.mark.parametrize("name", [PRODUCER, CONSUMER])
def test_whoever_is_killed_at_any_step_it_is_paid_once(cluster: Cluster, name: str) -> None:
    """The same question after every life: in the end one profile, one price, on both sides."""
    domain = f"killed-{name}"
    consumer, producer = open_shop(cluster, domain)
    producer.call("wallet.deposit", amount=str(10 * TOKEN))
    before, owed_before = lane(producer, "pay"), lane(consumer, "take")
    sell(cluster, consumer, producer, domain)
    steps = BUYER_STEPS if name == PRODUCER else SELLER_STEPS
    for cut in [cut for step in steps for cut in around("journal", step)]:
        producer = life(cluster, name, cut, domain)
    found = producer.call("profiles.query", domain=domain, budget=ANY, query="one question")
    assert (found["profiles"], len(found["items"]) > 0) == (1, True), found["sellers"][0]["reason"]
    assert lane(cluster.client(PRODUCER), "pay") - before == PRICE_WEI
    assert lane(cluster.client(CONSUMER), "take") - owed_before == PRICE_WEI
    shown = cluster.client(CONSUMER).call("profiles.show", domain=domain)
    assert (shown["sold"], shown["earned_wei"]) == (1, str(PRICE_WEI))


def neighbours(cluster: Cluster) -> list[dict[str, Any]]:
    """Whom the producer is connected to."""
    found: list[dict[str, Any]] = cluster.client(PRODUCER).call("peers.list")["items"]
    return found


def life(cluster: Cluster, name: str, cut: PowerCut, domain: str) -> Client:
    """Ask while a cut is laid; when it fell, the dead one comes back. The producer's client."""
    cluster.arm(name, cut)
    question: dict[str, Any] = {"domain": domain, "budget": ANY, "query": "one question"}
    with suppress(OSError):
        cluster.client(PRODUCER).call("profiles.query", **question)
    if cluster.armed(name):
        cluster.disarm(name)
    else:
        cluster.died(name)
        cluster.start(name)
        cluster.client(PRODUCER).call("domains.follow", domain=domain)
        seller = cluster.client(CONSUMER).call("node.status")["peer_id"]
        wait_for(lambda: seller in {one["peer"] for one in neighbours(cluster)}, "the two to meet again")
    return cluster.client(PRODUCER)
