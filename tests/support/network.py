"""Real hosts on loopback for tests: fixtures `alice`, `bob`, `carol` of one network, not connected to each other.

A conftest imports them; `await meet(alice, bob)` connects two and waits until both know it. libp2p is imported when a
fixture runs, so that tests without a network do not wait for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import pytest
import trio

if TYPE_CHECKING:
    from node.network import Network, NetworkOptions

NETWORK = "testnet-of-tests"
CHAIN = 31337


def seed(name: str) -> bytes:
    """The identity of a test peer; the same name is the same peer."""
    return hashlib.sha256(name.encode()).digest()


def options(**changes: object) -> NetworkOptions:
    """Options of the tests' network: loopback, any port, and nobody is dialled unless a test says so."""
    from node.network import NetworkOptions

    given: dict[str, object] = {"network_id": NETWORK, "chain_id": CHAIN, "target_peers": 0, **changes}
    return NetworkOptions(**given)  # type: ignore[arg-type]


def member(name: str, **changes: object) -> AbstractAsyncContextManager[Network]:
    """A network opened under a name: `async with member("dave") as dave`."""
    from node.network import open_network

    return open_network(options(**changes), seed(name))


async def meet(*networks: Network) -> None:
    """Connect every network to the first one, and wait until all sides have greeted."""
    first = networks[0]
    with trio.fail_after(10):
        for network in networks[1:]:
            await network.connect(first.addresses[0])
        while len(first.peers()) < len(networks) - 1:
            await trio.sleep(0.01)


async def listening(network: Network, topic: str, peers: int = 1) -> None:
    """Wait until a node knows of `peers` neighbours that subscribe to the topic."""
    with trio.fail_after(10):
        while network.gossip.listeners(topic) < peers:
            await trio.sleep(0.02)


@pytest.fixture
async def alice() -> AsyncIterator[Network]:
    async with member("alice") as network:
        yield network


@pytest.fixture
async def bob() -> AsyncIterator[Network]:
    async with member("bob") as network:
        yield network


@pytest.fixture
async def carol() -> AsyncIterator[Network]:
    async with member("carol") as network:
        yield network
