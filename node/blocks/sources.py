"""Who is asked for a content: those whom the caller names, and those who say in the DHT that they have it.

A content is asked for where it must be, and searched for when it is not there. A large one is searched for all the
same, beside its transfer: several providers carry faster than one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Protocol

from node.blocks.cids import cid_bytes
from node.blocks.transfer import Search
from protocols.ids import Cid, PeerId

LARGE_BYTES = 8 << 20
FIRST_SEARCH_S = 3.0
LAST_SEARCH_S = 20.0
MOST = 8  # providers of one search


class Finder(Protocol):
    """Provider records; `network.dht` is one."""

    async def provide(self, key: bytes) -> int: ...

    def withdraw(self, key: bytes) -> None: ...

    async def providers(self, key: bytes, *, limit: int, timeout_s: float) -> list[PeerId]: ...


def key_of(root: Cid) -> bytes:
    """What provider records name a content by: its multihash, as Kubo does."""
    return cid_bytes(root)[2:]


async def sources(finder: Finder, root: Cid, named: Sequence[PeerId]) -> AsyncGenerator[list[PeerId]]:
    """Providers in rounds: the next round is for when the content did not come from the last one."""
    asked = dict.fromkeys(named)
    if asked:
        yield list(asked)
    more = await finder.providers(key_of(root), limit=MOST, timeout_s=LAST_SEARCH_S)
    if new := [peer for peer in more if peer not in asked]:
        yield new


def search_beside(finder: Finder, root: Cid, size_bytes: int) -> Search | None:
    """A search for more providers of a large content, while the first ones carry it."""
    if size_bytes < LARGE_BYTES:
        return None
    return partial(finder.providers, key_of(root), limit=MOST, timeout_s=FIRST_SEARCH_S)
