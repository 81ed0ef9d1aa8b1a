"""A node: a flat stack of layers, started in this order and stopped in reverse. Start reading here.

    base        journal, keys, chain, outbox          what must be right
    carriage    network, blocks, embedder, shard      what is carried and kept
    money       vouchers, deposits, settlement        how use is paid
    market      catalogue, gossip, offers, demands    what is on offer and what is wanted
    intake      collector, refiner                    what flows in
    exchange    purchases, sales                      how data changes hands
    learning    models, feedback, rewards             what it is for
    face        jobs, methods, socket, console        how one asks for it

A crash in one service ends the node with its own traceback.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from config.loader import Loaded
from config.paths import NodePaths
from node.embed import Embedder
from node.face import open_face
from node.layers.base import open_base
from node.layers.carriage import open_carriage
from node.layers.exchange import open_exchange
from node.layers.learning import open_learning
from node.layers.market import open_intake, open_market
from node.layers.money import open_money
from node.layers.node import Node
from node.resume import resume_when_unlocked

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_node(
    loaded: Loaded, paths: NodePaths, *, stop: Callable[[], None], embedder: Embedder | None = None
) -> AsyncIterator[Node]:
    """Start a node; it is ready when this yields and stopped when the block ends. `stop` asks for that end."""
    async with AsyncExitStack() as stack:
        base = await open_base(stack, loaded, paths)
        carriage = await open_carriage(stack, base, embedder)
        money = open_money(base)
        market = await open_market(base, carriage, money)
        collector = open_intake(base, carriage, market)
        exchange = await open_exchange(base, carriage, market, money)
        learning = open_learning(base, carriage, market, exchange, money)
        node = Node(
            loaded=loaded,
            paths=paths,
            base=base,
            carriage=carriage,
            market=market,
            collector=collector,
            exchange=exchange,
            money=money,
            learning=learning,
        )
        base.nursery.start_soon(resume_when_unlocked, node)
        await open_face(stack, node, stop)
        yield node
