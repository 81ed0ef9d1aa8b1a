"""rpc: what this socket offers."""

from __future__ import annotations

from node.rpc.method import Method
from node.rpc.openrpc import document
from node.rpc.registry import Registry
from node.rpc.values import Result


def methods(registry: Registry) -> list[Method]:
    """Discover."""

    async def discover() -> Result:
        """This document: every method with its parameters (OpenRPC)."""
        return document(registry)

    return [Method("rpc.discover", discover)]
