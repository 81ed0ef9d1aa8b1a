"""domains: which topics this node listens to. Publishing, wanting or asking follows by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from node.rpc.method import Method
from node.rpc.values import Domain, Result, items

LookInto = Callable[[str], Awaitable[None]]  # follow a domain that somebody asks about


class Gossip(Protocol):
    """What gossip does for this noun."""

    @property
    def domains(self) -> list[str]: ...
    async def follow(self, domain: str) -> None: ...


def methods(gossip: Gossip) -> list[Method]:
    """Follow and list."""

    async def follow(domain: Domain) -> Result:
        """Hear the offers, demands, models and ratings of a domain, now and after every restart."""
        await gossip.follow(domain)
        return {"domain": domain, "followed": True}

    async def listed() -> Result:
        """The domains this node follows."""
        return items([{"domain": domain} for domain in gossip.domains])

    return [Method("domains.follow", follow), Method("domains.list", listed)]
