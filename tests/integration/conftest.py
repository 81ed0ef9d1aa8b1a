"""Fixtures of the integration tests."""

from tests.support.daemon import devnet
from tests.support.network import alice, bob, carol

__all__ = ["alice", "bob", "carol", "devnet"]
