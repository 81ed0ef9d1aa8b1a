"""Real daemons for tests: a devnet with its own chain, in a folder of the test's, ended by the test.

    def test_…(devnet: Devnet) -> None:
        devnet.add("seller")                       # wallet, money, process, ready
        call(devnet, "seller", "offers.publish", domain="reviews", title="…")
        devnet.kill("seller"); devnet.add("seller")     # as after a crash

A conftest imports the fixture; tests that use it carry the marks `chain` and `e2e`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.cli.client import Client
from node.devnet.devnet import Devnet
from node.devnet.places import Places


@pytest.fixture(scope="session")
def devnet() -> Iterator[Devnet]:
    """A chain with the contracts and a bootstrap node, shared by the session; nodes are added by the tests."""
    folder = Path(tempfile.mkdtemp(prefix="schwung-"))  # short: a socket's path has a limit
    local = Devnet(Places(folder / "net"), print)
    try:
        local.up(0)
        yield local
    finally:
        local.down()
        shutil.rmtree(folder)


def call(devnet: Devnet, name: str, method: str, **params: Any) -> Any:
    """The result of one call to one of its nodes. Raises CliError."""
    with Client(devnet.places.node(name).socket, 60) as client:
        return client.call(method, params)
