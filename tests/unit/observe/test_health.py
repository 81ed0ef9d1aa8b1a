"""Checks run together, and none of them can break the report."""

from __future__ import annotations

import trio

from node.observe.health import Health, Unhealthy
from node.observe.metrics import Metrics


class Invalid(Exception):
    kind = "wrong_chain"
    hint = "look at chain.rpc"


async def test_every_outcome_is_a_finding(autojump_clock: trio.abc.Clock) -> None:
    async def good() -> str:
        return "14 peers"

    async def bad() -> str:
        raise Unhealthy("chain is 7 blocks behind", "check chain.rpc")

    async def stuck() -> str:
        await trio.sleep_forever()
        return ""

    async def broken() -> str:
        raise KeyError("x")

    async def known() -> str:
        raise Invalid("the endpoint serves chain 1")

    health = Health()
    for name, check in (("e", known), ("d", good), ("c", bad), ("b", stuck), ("a", broken)):
        health.add(name, check)
    with trio.fail_after(20):
        findings = await health.report()
    assert [(f.name, f.ok, f.note, f.hint) for f in findings] == [
        ("a", False, "KeyError: 'x'", ""),
        ("b", False, "no answer in 5 s", ""),
        ("c", False, "chain is 7 blocks behind", "check chain.rpc"),
        ("d", True, "14 peers", ""),
        ("e", False, "the endpoint serves chain 1", "look at chain.rpc"),
    ]


def test_metrics_of_two_nodes_do_not_meet() -> None:
    one, two = Metrics("1"), Metrics("2")
    one.counter("deals", "Deals.").inc()
    one.watch("peers", "Connected peers.", lambda: 3.0)
    text = one.render().decode()
    assert 'schwung_build_info{version="1"} 1.0' in text
    assert "schwung_deals_total 1.0" in text
    assert "schwung_peers 3.0" in text
    assert b"schwung_deals" not in two.render()
