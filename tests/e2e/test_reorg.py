"""Troubles of the chain, between real daemons: what it takes back, an endpoint that is gone, fees, nonces, a wrong one.

Each ends as if there had been no trouble: paid once, delivered once, both journals as the chain is, the books balanced.

Elsewhere, and not repeated here: the outbox by itself (tests/integration/test_wallet_transactions.py), the log follower
by itself (tests/integration/test_wallet_logs.py), an endpoint that hangs in a deal (tests/e2e/test_trouble.py).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from contracts.anvil import start_anvil
from node.wallet.watch import STUCK_BLOCKS
from protocols.exchange.machine import Buyer
from tests.e2e.goods import goods
from tests.e2e.stall import BUYER, DOMAIN, NAMES, SELLER, Stall
from tests.support.cluster import Cluster, PowerCut, wait_for
from tests.support.proxy import open_proxy
from tests.support.works import GOODS, OWN, Works

pytestmark = [pytest.mark.chain, pytest.mark.e2e]

GWEI = 10**9
DEEP = 3  # confirmations of the careful
TO_THE_MARGIN_S = 85  # as in test_kill.py
OUTAGE_S = 1.5
REST_S = 20  # of chain time: how long a call that failed rests, and a little more
TWIN = "twin"
LATER = {"exchange__confirm_wait_s": "3600"}  # the seller keeps the confirmation: the sale stays open
LOTS = [
    "lock", "payment", "whole", "delivery", "shallow", "gone-rpc", "restart", "stuck", "dear", "one", "other",
]  # fmt: skip


@pytest.fixture(scope="module")
def opened(cluster: Cluster) -> Stall:
    return Stall(cluster, LOTS, seed=31)


@pytest.fixture
def stall(opened: Stall) -> Iterator[Stall]:
    opened.whole()
    yield opened
    for name in NAMES:
        opened.cluster.disarm(name)


@contextmanager
def other_lives(stall: Stall, *names: str, **settings: str) -> Iterator[None]:
    """Lives with other settings (`section__key`), then the usual ones again."""
    restart(stall, *names, **settings)
    try:
        yield
    finally:
        restart(stall, *names)


def restart(stall: Stall, *names: str, **settings: str) -> None:
    for name in names:
        if stall.cluster.alive(name):
            stall.cluster.kill(name)
        stall.cluster.start(name, settings={key.replace("__", "."): value for key, value in settings.items()})


def take_back(stall: Stall, transaction: str) -> None:
    """Another chain wins, of the same length and without the blocks from this transaction's on."""
    block, head = mined_in(stall, transaction), int(stall.cluster.chain("eth_blockNumber"), 16)
    assert block is not None
    stall.cluster.chain("anvil_reorg", head - block + 1, [])


def mined_in(stall: Stall, transaction: str) -> int | None:
    receipt = stall.cluster.chain("eth_getTransactionReceipt", transaction)
    return None if receipt is None else int(receipt["blockNumber"], 16)


def transaction(deal: dict[str, Any], step: str) -> str:
    """The newest one of a step."""
    return str([one for one in deal["txs"] if one["step"] == step][-1]["hash"])


def been(stall: Stall, lot: str, name: str, state: str, times: int = 1) -> None:
    """Wait until a deal has been in a state so often."""

    def states() -> list[str]:
        return [step["state"] for step in stall.deal(lot, name)["steps"]]

    try:
        wait_for(lambda: states().count(state) >= times, f"{state} at the {name}", 30)
    except TimeoutError as err:
        raise AssertionError(f"{err}: {states()}; {stall.cluster.words(name)}") from err


def payment(stall: Stall, sale: str) -> str:
    """The transaction that paid a sale out."""
    facts, abi = stall.cluster.devnet.facts(), stall.cluster.abis["sale"]
    topics = ["0x" + abi.topics["Finished"].hex(), f"0x{int(sale):064x}"]
    query = {"address": facts["contracts"]["sale"], "topics": topics, "fromBlock": hex(facts["deployed_block"])}
    (log,) = stall.cluster.chain("eth_getLogs", query)
    return str(log["transactionHash"])


# --- what the chain takes back ---


def test_a_lock_that_is_taken_back_is_made_again(stall: Stall) -> None:
    purse = stall.purse("lock")
    with other_lives(stall, SELLER, **LATER):
        stall.buy("lock")
        stall.until("lock", "confirmed", SELLER)
        take_back(stall, transaction(stall.deal("lock"), "lock"))
        been(stall, "lock", BUYER, "locking", 2)
        been(stall, "lock", SELLER, "gone")
    stall.assert_paid("lock", purse)


def test_a_payment_that_is_taken_back_is_made_again(stall: Stall) -> None:
    purse = stall.purse("payment")
    stall.buy("payment")
    sale = stall.until("payment", "settled")["sale"]
    stall.until("payment", "paid", SELLER)
    take_back(stall, payment(stall, sale))
    been(stall, "payment", SELLER, "paid", 2)
    been(stall, "payment", BUYER, "settled", 2)
    stall.assert_paid("payment", purse, settled=2)


def test_a_whole_deal_that_is_taken_back_is_made_again(stall: Stall) -> None:
    purse = stall.purse("whole")
    stall.buy("whole")
    stall.until("whole", "settled")
    stall.until("whole", "paid", SELLER)
    take_back(stall, transaction(stall.deal("whole"), "lock"))
    been(stall, "whole", BUYER, "settled", 2)
    been(stall, "whole", SELLER, "paid", 2)
    stall.assert_paid("whole", purse, settled=2)


@pytest.mark.slow
def test_a_delivery_that_is_taken_back_is_posted_again(stall: Stall) -> None:
    purse = stall.purse("delivery")
    stall.cluster.arm(BUYER, PowerCut("buyer", Buyer.LOCKED.value, before=True))
    stall.buy("delivery")
    stall.cluster.died(BUYER)
    stall.cluster.leap(TO_THE_MARGIN_S)
    stall.until_delivered("delivery")
    take_back(stall, transaction(stall.deal("delivery", SELLER), "deliver"))
    been(stall, "delivery", SELLER, "delivered", 2)
    stall.cluster.start(BUYER)
    stall.assert_paid("delivery", purse)


@pytest.mark.slow
def test_what_is_taken_back_before_it_counted_is_not_even_noticed(stall: Stall) -> None:
    purse, cluster = stall.purse("shallow"), stall.cluster
    with other_lives(stall, *NAMES, chain__confirmations=str(DEEP)):
        with cluster.no_blocks():
            stall.buy("shallow")
            wait_for(lambda: stall.deal("shallow")["txs"], "the lock to be signed")
            lock = transaction(stall.deal("shallow"), "lock")
            wait_for(lambda: cluster.chain("eth_getTransactionByHash", lock), "the lock to be sent")
            cluster.mine(1)
            assert mined_in(stall, lock) is not None
            take_back(stall, lock)
            assert mined_in(stall, lock) is None
        stall.assert_paid("shallow", purse)
        assert [step["state"] for step in stall.deal("shallow")["steps"]].count("locking") == 1
        assert "gone" not in [step["state"] for step in stall.deal("shallow", SELLER)["steps"]]


def test_a_settlement_that_is_taken_back_is_made_again(cluster: Cluster) -> None:
    first, own = goods(["first"], GOODS, seed=32)["first"], goods(["own"], OWN, seed=33)["own"]
    works = Works(cluster, [*first, *own])
    works.call()
    (settled,) = works.builder.call("models.settle", model=works.model)["items"]
    works.assert_exact()
    receipt = cluster.chain("eth_getTransactionReceipt", settled["hash"])
    head = int(cluster.chain("eth_blockNumber"), 16)
    cluster.chain("anvil_reorg", head - int(receipt["blockNumber"], 16) + 1, [])
    wait_for(lambda: works.paid_wei == works.promised_wei, "the settlement on the new chain", 30)
    works.call()
    works.settle()
    works.assert_exact()


# --- an endpoint that is gone ---


def test_an_endpoint_that_dies_in_a_deal_and_comes_back_delays_it(stall: Stall) -> None:
    purse = stall.purse("gone-rpc")
    with open_proxy(stall.cluster.devnet.rpc()) as proxy, other_lives(stall, *NAMES, chain__rpc=proxy.url):
        with stall.buyer.events("deals") as steps:
            stall.buy("gone-rpc")
            next(step for step in steps if step["data"]["state"] == "locking")
            with proxy.down():
                time.sleep(OUTAGE_S)
                assert stall.buyer.call("node.status")["peer_id"]  # it still answers
        stall.cluster.leap(REST_S)
        stall.assert_paid("gone-rpc", purse)


@pytest.mark.slow
def test_a_chain_that_is_stopped_in_a_deal_and_started_again_delays_it(stall: Stall) -> None:
    purse = stall.purse("restart")
    with stall.buyer.events("deals") as steps:
        stall.buy("restart")
        next(step for step in steps if step["data"]["state"] == "locking")
    clock = int(stall.cluster.chain("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    stall.cluster.devnet.processes.stop(["chain"])  # it writes its state
    time.sleep(OUTAGE_S)
    stall.cluster.devnet.up(0)
    stall.cluster.chain("evm_setTime", clock + 1)  # it forgot how far other tests have moved its clock
    stall.cluster.leap(REST_S)
    stall.assert_paid("restart", purse)


# --- fees, nonces, another chain ---


def test_a_transaction_that_is_stuck_below_the_base_fee_is_replaced_under_its_nonce(stall: Stall) -> None:
    purse, cluster = stall.purse("stuck"), stall.cluster
    with cluster.no_blocks():
        stall.buy("stuck")
        wait_for(lambda: stall.deal("stuck")["txs"], "the lock to be signed")
        first = transaction(stall.deal("stuck"), "lock")
        wait_for(lambda: cluster.chain("eth_getTransactionByHash", first), "the lock to be sent")
        fee = int(cluster.chain("eth_getTransactionByHash", first)["maxFeePerGas"], 16)
        for _ in range(STUCK_BLOCKS + 1):
            cluster.chain("anvil_setNextBlockBaseFeePerGas", hex(2 * fee))
            cluster.mine(1)
        assert mined_in(stall, first) is None
        wait_for(lambda: transaction(stall.deal("stuck"), "lock") != first, "a higher fee", 30)
    stall.assert_paid("stuck", purse)
    history = [one for one in stall.buyer.call("wallet.history")["items"] if stall.deal("stuck")["deal"] in one["key"]]
    assert [one["state"] for one in history if ":lock:" in one["key"]] == ["done"]
    assert mined_in(stall, first) is None


@pytest.mark.slow
def test_gas_above_the_cap_is_waited_out(stall: Stall) -> None:
    purse, cluster = stall.purse("dear"), stall.cluster
    with cluster.no_blocks():
        cluster.chain("anvil_setNextBlockBaseFeePerGas", hex(1_000 * GWEI))  # the cap is 200
        cluster.mine(1)
        stall.buy("dear")
        stall.until("dear", "locking")
        time.sleep(OUTAGE_S)
        assert stall.deal("dear")["txs"] == []  # nothing was signed
        cluster.chain("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
        cluster.mine(1)
    stall.assert_paid("dear", purse)


def test_two_daemons_with_one_wallet_both_get_through(stall: Stall) -> None:
    """A mistake, and no loss: a nonce serves one of them, the other signs anew."""
    cluster, places = stall.cluster, stall.cluster.devnet.places
    cluster.start(TWIN)
    cluster.kill(TWIN)
    shutil.rmtree(places.node(TWIN).keystore)
    shutil.copytree(places.node(BUYER).keystore, places.node(TWIN).keystore)
    twin = cluster.start(TWIN)
    assert twin.call("node.status")["address"] == stall.buyer.call("node.status")["address"]
    twin.call("domains.follow", domain=DOMAIN)
    lots = {BUYER: "one", TWIN: "other"}
    wanted = {stall.offers[lot]["offer"] for lot in lots.values()}
    wait_for(lambda: wanted <= {o["offer"] for o in twin.call("offers.list", limit=1_000)["items"]}, "the offers")
    before = cluster.balance(BUYER)
    with cluster.no_blocks():  # both sign under one nonce
        for name, lot in lots.items():
            offer = stall.offers[lot]
            cluster.client(name).call("deals.buy", offer=offer["offer"], max_price=offer["price_wei"])
        for name, lot in lots.items():
            wait_for(lambda: stall.deal(lot, name)["txs"], f"the lock of {name}")  # noqa: B023 - called at once
    for name, lot in lots.items():
        stall.until(lot, "settled", name)
    price = sum(int(stall.offers[lot]["price_wei"]) for lot in lots.values())
    assert before - cluster.balance(BUYER) == price
    stall.assert_balanced()
    cluster.kill(TWIN)


def test_an_endpoint_of_another_chain_is_refused_at_the_start(stall: Stall) -> None:
    with start_anvil(chain_id=4_242) as other:
        stall.cluster.start("astray", ready=False, settings={"chain.rpc": other.rpc_url})
        assert stall.cluster.ended("astray") == 1
    words = stall.cluster.words("astray")
    assert "Traceback" not in words
    assert "4242" in words
    assert "31337" in words
