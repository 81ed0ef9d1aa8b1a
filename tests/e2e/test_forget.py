"""Forgetting between real daemons: over the command line, with a locked wallet, and through `kill -9`.

What is on the disk is read from the dead node's folder, log included: nobody is there to tidy up for the test.
"""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import suppress
from threading import Thread
from typing import Any

import pytest

from tests.e2e.goods import goods
from tests.support.client import CallFailed, Client
from tests.support.cluster import Cluster, wait_for

pytestmark = [pytest.mark.chain, pytest.mark.e2e]

SELLER, READER, DOMAIN = "forgetful", "reader", "erasure"
EACH = 8
KILLS = 6


def publish(cluster: Cluster, seller: Client, lot: str, seed: int) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """A lot on sale: the offer, one of its records, its content key."""
    items = goods([lot], EACH, seed)[lot]
    put = seller.call("collect.put", domain=DOMAIN, items=items, licence="CC0-1.0", consent="I wrote these")
    assert put["records"] == EACH, put
    offer = seller.call("offers.publish", domain=DOMAIN, title=lot, filter={"labels": {"lot": lot}})
    held = seller.call("records.list", domain=DOMAIN, limit=1_000)["items"]
    record = next(record for record in held if record["labels"].get("lot") == lot)
    with sqlite3.connect(f"file:{journal(cluster)}?mode=ro", uri=True) as conn:
        sql = "SELECT content_key FROM publications WHERE offer = ?"
        (key,) = conn.execute(sql, (offer["offer"],)).fetchone()
    conn.close()
    assert grep(cluster, record["text"].encode())
    assert grep(cluster, key)
    return offer, record, key


def journal(cluster: Cluster) -> str:
    (file,) = cluster.devnet.places.node(SELLER).datadir.rglob("journal.db")
    return str(file)


def grep(cluster: Cluster, what: bytes) -> list[str]:
    """The files of the seller's folder that hold these bytes."""
    folder = cluster.devnet.places.node(SELLER).datadir
    return [str(path) for path in folder.rglob("*") if path.is_file() and what in path.read_bytes()]


def erasure_of(seller: Client, record: str) -> dict[str, Any]:
    found = [one for one in seller.call("records.erasures")["items"] if record in one["records"]]
    return dict(found[0]) if found else {}


def until_done(seller: Client, record: str) -> dict[str, Any]:
    """The erasure of a record once the chain has heard of it."""
    wait_for(lambda: erasure_of(seller, record).get("state") == "done", "the chain to hear of it")
    return erasure_of(seller, record)


def assert_revoked(cluster: Cluster, proof: dict[str, Any]) -> None:
    (offer,) = proof["offers"]
    assert not cluster.view("registry", "isActive", offer["dataset"])
    for transaction in (offer["revoke_tx"], offer["close_tx"]):
        assert cluster.chain("eth_getTransactionReceipt", transaction)["status"] == "0x1"


def test_a_locked_node_forgets_at_once_and_tells_the_chain_when_it_is_unlocked(cluster: Cluster) -> None:
    seller, reader = cluster.start(SELLER), cluster.start(READER)
    for node in (seller, reader):
        node.call("domains.follow", domain=DOMAIN)
    offer, record, key = publish(cluster, seller, "first", 1)
    listed = lambda: {one["offer"] for one in reader.call("offers.list", domain=DOMAIN)["items"]}  # noqa: E731
    wait_for(lambda: offer["offer"] in listed(), "the offer at the reader")
    seller.call("wallet.lock")

    said = cluster.schwung(SELLER, "--json", "records", "forget", "--id", record["id"])
    assert (said.code, said.err) == (0, "")
    assert (said.json["state"], said.json["forgotten"]) == ("here", 1)
    assert "locked" in said.json["waiting"]
    assert grep(cluster, record["text"].encode()) == []
    assert grep(cluster, key) == []
    with pytest.raises(CallFailed):
        seller.call("records.get", id=record["id"])

    cluster.kill(SELLER)
    assert grep(cluster, key) == []
    seller = cluster.start(SELLER, unlocked=False)
    assert erasure_of(seller, record["id"])["state"] == "here"
    wait_for(lambda: seller.call("peers.list")["items"], "somebody to tell it to")
    seller.call("wallet.unlock", passphrase=cluster.devnet.places.passphrase.read_text().strip())
    assert_revoked(cluster, until_done(seller, record["id"]))
    # gossip may reach nobody so early: then the reader catches up within a minute (node/market/gossip.py)
    wait_for(lambda: offer["offer"] not in listed(), "the withdrawal at the reader", 90)

    again = cluster.schwung(SELLER, "records", "forget", "--id", record["id"])
    assert again.code == 0
    assert erasure_of(seller, record["id"])["offers"][0]["revoke_tx"] in again.out
    assert "its sketch" in again.out


def test_killed_at_any_moment_it_ends_as_it_would_have(cluster: Cluster) -> None:
    """Each round publishes a lot, begins to forget one of its records, and pulls the plug some milliseconds later."""
    dice = random.Random(7)
    cut_off = 0
    seller = cluster.client(SELLER) if cluster.alive(SELLER) else cluster.start(SELLER)
    for kill in range(KILLS):
        _offer, record, key = publish(cluster, seller, f"round-{kill}", 100 + kill)
        asked = Thread(target=_ask, args=(Client(seller.path), record["id"]))
        asked.start()
        time.sleep(dice.uniform(0.0, 0.2))
        cluster.kill(SELLER)
        asked.join(60)
        seller = cluster.start(SELLER)
        begun = erasure_of(seller, record["id"])
        print(f"round {kill}: killed when the erasure was {begun.get('state', 'not begun')}")
        cut_off += begun.get("state") != "done"
        if not begun:
            assert grep(cluster, key), "nothing was begun, so nothing may be lost"
            seller.call("records.forget", id=record["id"])
        assert_revoked(cluster, until_done(seller, record["id"]))
        assert grep(cluster, record["text"].encode()) == []
        assert grep(cluster, key) == []
        offers = seller.call("offers.list", domain=DOMAIN, mine=True)["items"]
        assert [one for one in offers if one["title"] == f"round-{kill}"] == []
    assert cut_off, "every erasure was over before the plug was pulled: pull it earlier"


def _ask(client: Client, record: str) -> None:
    with suppress(OSError):
        client.call("records.forget", id=record)
    client.close()
