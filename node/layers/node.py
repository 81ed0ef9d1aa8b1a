"""The running services of a node, by layer: what methods and tests reach for."""

from __future__ import annotations

import msgspec

from config.loader import Loaded
from config.paths import NodePaths
from node.collect.collector import Collector
from node.identity.wallet_key import Wallet
from node.layers.base import Base
from node.layers.carriage import Carriage
from node.layers.exchange import Exchange
from node.layers.learning import Learning
from node.layers.market import Market
from node.layers.money import Money
from node.network import Network


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """The running services, by layer."""

    loaded: Loaded
    paths: NodePaths
    base: Base
    carriage: Carriage
    market: Market
    collector: Collector
    exchange: Exchange
    money: Money
    learning: Learning

    @property
    def wallet(self) -> Wallet:
        return self.base.wallet

    @property
    def network(self) -> Network:
        return self.carriage.network
