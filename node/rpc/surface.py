"""All methods of a node in one place: reading this file is reading the API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from config.loader import Loaded
from node.embed import Embedder
from node.feedback.rewards import Rewards
from node.feedback.service import Feedback
from node.insights.service import Insights
from node.market.catalog import Catalog
from node.market.demands import DemandDesk
from node.market.offers import Offers
from node.market.search import Search
from node.models.service import Models
from node.observe.events import EventBus
from node.observe.health import Health
from node.rpc.jobs import JobRunner
from node.rpc.methods import (
    collect,
    config,
    deals,
    demands,
    events,
    feedback,
    insights,
    jobs,
    log,
    models,
    node,
    offers,
    peers,
    records,
    rewards,
    rpc,
    search,
    wallet,
)
from node.rpc.registry import Registry
from node.shard import Shard


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the methods stand on. `whose` is the own address, '' without a wallet."""

    about: node.About
    facts: node.Facts
    stop: Callable[[], None]
    health: Health
    bus: EventBus
    jobs: JobRunner
    loaded: Loaded
    config_file: Path
    network: peers.Network
    collect: collect.Collect
    shard: Shard
    embedder: Embedder
    catalog: Catalog
    offers: Offers
    demands: DemandDesk
    search: Search
    deals: deals.Deals
    wallet: wallet.Wallet
    models: Models
    feedback: Feedback
    rewards: Rewards
    insights: Insights
    whose: Callable[[], str]


def registry(s: Services) -> Registry:
    """Every method of a running node."""
    all_methods = Registry()
    all_methods.add(node.methods(s.about, s.facts, s.health, s.stop))
    all_methods.add(peers.methods(s.network))
    all_methods.add(collect.methods(s.collect, s.jobs, s.loaded.settings.collect.default_licence))
    all_methods.add(records.methods(s.shard, s.embedder))
    all_methods.add(offers.methods(s.offers, s.catalog, s.embedder, s.whose))
    all_methods.add(demands.methods(s.demands, s.catalog, s.whose))
    all_methods.add(search.methods(s.search))
    all_methods.add(deals.methods(s.deals))
    all_methods.add(wallet.methods(s.wallet, s.models))
    all_methods.add(models.methods(s.models, s.jobs))
    all_methods.add(feedback.methods(s.feedback))
    all_methods.add(rewards.methods(s.rewards))
    all_methods.add(insights.methods(s.insights))
    all_methods.add(config.methods(s.loaded, s.config_file))
    all_methods.add(log.methods())
    all_methods.add(jobs.methods(s.jobs))
    all_methods.add(events.methods(s.bus))
    all_methods.add(rpc.methods(all_methods))
    return all_methods
