"""`kill -9` at every line that an offer writes on its way to the market: it gets there once, and can be bought."""

from __future__ import annotations

from contextlib import suppress
from typing import get_args

import pytest

from node.journal.publications import State
from tests.e2e.stall import BUYER, DOMAIN, SELLER, Stall
from tests.support.cluster import Cluster, PowerCut, wait_for

pytestmark = [pytest.mark.chain, pytest.mark.e2e]

CUTS = [
    *(PowerCut("publication", state) for state in ("sealed", "registered", "offered", "announced")),
    *(PowerCut("publication", state, before=True) for state in ("registered", "offered", "announced")),
]
NOT_ON_THE_WAY = {"withdrawn", "failed"}


@pytest.fixture(scope="module")
def stall(cluster: Cluster) -> Stall:
    return Stall(cluster, [], later=[cut.name for cut in CUTS], seed=3)


def test_no_state_of_an_offer_is_forgotten() -> None:
    assert {cut.state for cut in CUTS if not cut.before} | NOT_ON_THE_WAY == set(get_args(State))


@pytest.mark.parametrize(
    "cut", [pytest.param(cut, id=cut.name, marks=[] if cut.before else pytest.mark.slow) for cut in CUTS]
)
def test_an_offer_gets_to_the_market_once(stall: Stall, cut: PowerCut) -> None:
    lot = cut.name
    stall.whole()
    before = counts(stall)
    stall.cluster.arm(SELLER, cut)
    with suppress(OSError):
        stall.seller.call("offers.publish", domain=DOMAIN, title=lot, filter={"labels": {"lot": lot}})
    stall.cluster.died(SELLER)
    stall.cluster.start(SELLER)
    wait_for(lambda: titled(stall, SELLER, lot), "the offer at its seller")
    wait_for(lambda: titled(stall, BUYER, lot), "the offer at the buyer", 50)  # not only with the next catch-up
    (stall.offers[lot],) = titled(stall, BUYER, lot)
    assert counts(stall) == (before[0] + 1, before[1] + 1)
    stall.cluster.mine(3)
    offer = stall.offers[lot]["offer"]  # told before the cut perhaps, and answered for only when the seller is done
    wait_for(lambda: stall.buyer.call("deals.sample", offer=offer)["ok"], "the seller to answer for it")
    purse = stall.purse(lot)
    stall.buy(lot)
    stall.assert_paid(lot, purse)


def titled(stall: Stall, name: str, title: str) -> list[dict[str, object]]:
    """The offers of that title that a node shows."""
    listed = stall.cluster.client(name).call("offers.list", domain=DOMAIN, limit=1_000)["items"]
    return [offer for offer in listed if offer["title"] == title]


def counts(stall: Stall) -> tuple[int, int]:
    """Datasets and offers on chain."""
    view = stall.cluster.view
    return int(view("registry", "datasetCount")), int(view("sale", "offerCount"))
