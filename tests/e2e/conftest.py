"""Fixtures of the end-to-end tests: one cluster for all that may share it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.goods import vocabulary
from tests.support.cluster import Cluster, open_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Chain, contracts, bootstrap node; the tests add nodes. Its clock only ever runs ahead."""
    with open_cluster(vocabulary()) as running:
        yield running
