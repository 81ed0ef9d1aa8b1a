"""How one asks a node for things: every method by its noun, the socket, health, the console."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any

import trio

from config.amounts import tokens
from contracts.errors import ChainError
from node.console.server import open_console
from node.journal.deals import Role
from node.journal.jobs import Jobs
from node.layers.base import now
from node.layers.node import Node
from node.market.catalog.catalog import Wanted
from node.observe.health import Health, Unhealthy
from node.observe.metrics import Metrics
from node.rpc.dispatch import Dispatcher
from node.rpc.jobs import JobRunner, open_jobs
from node.rpc.method import Method
from node.rpc.methods import (
    collect,
    config,
    deals,
    demands,
    domains,
    events,
    feedback,
    insights,
    jobs,
    log,
    models,
    offers,
    peers,
    profiles,
    records,
    rewards,
    rpc,
    search,
    wallet,
)
from node.rpc.methods import (
    node as node_noun,
)
from node.rpc.registry import Registry
from node.rpc.server import open_rpc
from node.wallet.addresses import Standing, money_left

CHAIN_S = 3.0  # the home screen does not wait longer for a chain that is slow


async def open_face(stack: AsyncExitStack, node: Node, stop: Callable[[], None]) -> None:
    """Jobs, console, methods, socket. When this returns the node answers."""
    runner = await stack.enter_async_context(open_jobs(Jobs(node.base.journal), node.base.events, now))
    health, metrics = checks(node), Metrics(version("schwung"))
    facts = Facts(node)
    settings = node.loaded.settings.console
    if settings.enabled:
        console = open_console(
            settings.port, node.paths.console_token, models=node.learning.models, health=health, metrics=metrics
        )
        facts.console = (await stack.enter_async_context(console)).url
    registry = Registry(methods(node, runner, health, facts, stop))
    registry.add(rpc.methods(registry))
    await stack.enter_async_context(open_rpc(node.paths.check_socket(), Dispatcher(registry, metrics)))


def methods(node: Node, runner: JobRunner, health: Health, facts: Facts, stop: Callable[[], None]) -> list[Method]:
    """Every method of the node but `rpc.discover`."""
    market, carriage, learning = node.market, node.carriage, node.learning
    about = node_noun.About(
        version=version("schwung"),
        network=node.base.context.network,
        chain_id=node.base.context.chain_id,
        started_at=now(),
        datadir=str(node.paths.root),
    )
    return [
        *node_noun.methods(about, facts, health, Deployed(node), stop),
        *peers.methods(carriage.network),
        *collect.methods(node.collector, runner, node.loaded.settings.collect.default_licence),
        *records.methods(carriage.shard, carriage.embedder, market.erasure),
        *offers.methods(
            market.offers,
            market.catalog,
            market.sellers,
            learning.standings,
            carriage.embedder,
            market.gossip.look_into,
            facts.whose,
        ),
        *demands.methods(market.demands, market.supply, market.catalog, market.gossip.look_into, facts.whose),
        *profiles.methods(
            market.profiles,
            market.profile_counter,
            market.profile_desk,
            market.catalog,
            market.gossip.look_into,
            facts.whose,
        ),
        *domains.methods(market.gossip),
        *search.methods(market.search, market.gossip.look_into),
        *deals.methods(node.exchange.desk),
        *wallet.methods(node.money.wallet),
        *models.methods(learning.models, runner),
        *feedback.methods(learning.feedback),
        *rewards.methods(learning.rewards, learning.stakes),
        *insights.methods(learning.insights),
        *config.methods(node.loaded, node.paths.config, node.base.addresses.used),
        *log.methods(),
        *events.methods(node.base.events),
        *jobs.methods(runner),
    ]


class Facts:
    """What the services know of themselves, for the home screen."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.console = ""  # its URL, when it is switched on

    def whose(self) -> str:
        """The own address, '' without a wallet."""
        return self._node.wallet.address if self._node.wallet.exists else ""

    def _market(self) -> dict[str, int]:
        catalog = self._node.market.catalog
        return {"offers_seen": catalog.count(), "mine": catalog.count(Wanted(signer=self.whose()))}

    async def facts(self) -> dict[str, Any]:
        """peer_id, address, listen, peers, shard, wallet, block."""
        node = self._node
        balance, block = await self._on_chain()
        return {
            "peer_id": node.network.peer_id,
            "address": self.whose(),
            "listen": list(node.network.addresses),
            "peers": len(node.network.peers()),
            "reachability": node.network.standing.state,
            "reach": node.network.standing,
            "shard": {"records": await node.carriage.shard.count()},
            "wallet": {"locked": node.wallet.locked, "balance": balance},
            "console": self.console,
            "market": self._market(),
            "domains": node.market.gossip.domains,
            "ipfs": node.carriage.blocks.figures(),
            "block": block,
            "contracts": {name: one.address for name, one in node.base.addresses.used.items()},
        }

    async def _on_chain(self) -> tuple[str | None, int | None]:
        """Token balance and newest block; None while the chain does not answer, because the home screen must."""
        chain, address = self._node.base.chain, self.whose()
        try:
            with trio.fail_after(CHAIN_S):
                balance = await chain.token.balance(address) if address else 0
                return str(balance), await chain.block_number()
        except (ChainError, trio.TooSlowError):
            return None, None


class Deployed:
    """The contracts in use, and following the directory to others."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def standings(self) -> list[Standing]:
        """Raises ChainError."""
        return await self._node.base.addresses.standings()

    async def follow(self, name: str) -> Standing:
        """Raises Unfollowed or ChainError."""
        return await self._node.base.addresses.follow(name, await self._left(name), now())

    async def _left(self, name: str) -> list[str]:
        """What of this node's money, or of its unfinished business, is in a contract."""
        node = self._node
        left = await money_left(node.base.chain, node.wallet.address, name) if node.wallet.exists else []
        if name == "bank" and await node.money.till.pending():
            left.append("vouchers that are not settled")
        if name == "sale":
            roles: tuple[Role, ...] = ("buyer", "seller")
            open_deals = [deal for role in roles for deal in await node.exchange.deals.unfinished(role)]
            left += [f"deal {deal.deal}" for deal in open_deals]
        return left


def checks(node: Node) -> Health:
    """The named checks of `node.health` and `/readyz`."""
    health = Health()

    async def chain() -> str:
        await node.base.chain.check()
        return f"block {await node.base.chain.block_number()}"

    async def connected() -> str:
        return f"{len(node.network.peers())} peers"

    async def held() -> str:
        return f"{await node.carriage.shard.count()} records"

    async def contracts() -> str:
        notes = await node.base.addresses.look()
        if notes:
            raise Unhealthy("; ".join(notes), "look at node.contracts, and follow when you agree: schwung node follow")
        return f"{len(node.base.addresses.used)} contracts, as the directory names them"

    async def outbox() -> str:
        obstacles = node.base.transactor.obstacles()
        if obstacles:
            what = "; ".join(f"{key}: {why}" for key, why in obstacles.items())
            raise Unhealthy(what, "nothing is lost: it goes on by itself; see wallet.history")
        return "no transaction is held up"

    async def vouchers() -> str:
        owed_wei = await node.money.wallet.unsettled_wei()
        if owed_wei:
            raise Unhealthy(
                f"others owe {tokens(owed_wei)} tok, a locked wallet does not settle: a payer who leaves gets away",
                "unlock it: schwung wallet unlock",
            )
        return "nothing waits for the wallet"

    async def reached() -> str:
        standing = node.network.standing
        if standing.state == "private" and not standing.relays:
            raise Unhealthy(
                "no peer can dial this node, and none of its peers is a relay: buyers do not reach what it offers",
                "map the port at the router and set network.announce, or add a public peer: schwung peers add",
            )
        return standing.state

    health.add("contracts", contracts, advisory=True)
    health.add("reachability", reached, advisory=True)
    health.add("vouchers", vouchers, advisory=True)
    health.add("transactions", outbox, advisory=True)
    for name, check in (("chain", chain), ("network", connected), ("shard", held)):
        health.add(name, check)
    return health
