"""What holds for every test: chain tests say why they are skipped, nobody's own settings are seen."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# A slow moment of a shared machine is no finding: nothing here asserts a time.
settings.register_profile("schwung", deadline=None)
settings.load_profile("schwung")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say once and clearly why chain tests are skipped where there is no anvil."""
    if not any(item.get_closest_marker("chain") or item.get_closest_marker("e2e") for item in items):
        return
    from contracts.anvil import AnvilError, require_anvil

    try:
        require_anvil()
    except AnvilError as err:
        skip = pytest.mark.skip(reason=str(err))
        for item in items:
            if item.get_closest_marker("chain") or item.get_closest_marker("e2e"):
                item.add_marker(skip)


@pytest.fixture(autouse=True, scope="session")
def _nobodys_settings() -> Iterator[None]:
    """No test may see the settings of whoever runs it."""
    taken = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("SCHWUNG_")}
    if "SCHWUNG_ANVIL" in taken:
        os.environ["SCHWUNG_ANVIL"] = taken["SCHWUNG_ANVIL"]
    yield
    os.environ.update(taken)


@pytest.fixture(autouse=True)
def _recursion_as_in_the_daemon() -> None:
    """py_ecc raises the limit at import; `node.service` takes it back, and so do the tests."""
    sys.setrecursionlimit(1_000)
