"""node: the home screen, health, and the way to end it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import trio

from node.observe.health import Finding, Health
from node.rpc.method import Method
from node.rpc.values import Name, Result, items, shown

ASK_S = 6.0  # the chain may be slow; the home screen is not


class About(msgspec.Struct, frozen=True):
    """What does not change while the node runs."""

    version: str
    network: str
    chain_id: int
    started_at: int
    datadir: str


class Facts(Protocol):
    """Where the status comes from; `facts` gathers what the services know of themselves at once."""

    async def facts(self) -> dict[str, Any]:
        """peer_id, address, listen, peers, shard, wallet, block, contracts, market and warnings."""


class Contracts(Protocol):
    """The contracts in use, beside what the network's directory says."""

    async def standings(self) -> Sequence[Any]: ...
    async def follow(self, name: str) -> Any: ...


def methods(about: About, facts: Facts, health: Health, contracts: Contracts, stop: Callable[[], None]) -> list[Method]:
    """Status, health, contracts, follow, stop."""

    async def status() -> Result:
        """What this node is and how it does, on one screen."""
        known: dict[str, Any] = {}
        with trio.move_on_after(ASK_S):
            known = await facts.facts()
            known["warnings"] = [_warning(finding) for finding in await health.report() if not finding.ok]
        chain = {"id": about.chain_id, "block": known.pop("block", None), "contracts": known.pop("contracts", {})}
        constant = {"version": about.version, "network": about.network, "datadir": about.datadir}
        return {**constant, "started_at": shown(about.started_at, "started_at"), **shown(known), "chain": chain}

    async def healthy() -> Result:
        """Every check, whether it is met, and what to do if not. What is advisory warns; the node does its work."""
        findings = await health.report()
        return {"ok": not any(finding.fails for finding in findings), **items(findings)}

    async def deployed() -> Result:
        """The contracts this node works with, and what the network's directory says of each: now, and announced."""
        return items(await contracts.standings())

    async def follow(name: Name) -> Result:
        """Work with the contract that the directory names for `name` now, from the next start on.

        Refused while this node has money in the old one.
        """
        return {**shown(await contracts.follow(name)), "restart": True}

    async def end() -> Result:
        """Stop this node in good order; the answer comes before the end."""
        stop()
        return {"stopping": True}

    return [
        Method("node.status", status),
        Method("node.health", healthy),
        Method("node.contracts", deployed),
        Method("node.follow", follow),
        Method("node.stop", end),
    ]


def _warning(finding: Finding) -> str:
    return f"{finding.name}: {finding.note}" + (f": {finding.hint}" if finding.hint else "")
