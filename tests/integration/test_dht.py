"""Provider records over real hosts: told, found by strangers to the teller, bounded against liars."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import trio

from node.network import Network
from tests.support.network import meet, member


def key_of(text: str) -> bytes:
    """A multihash, as provider records are named."""
    return b"\x12\x20" + hashlib.sha256(text.encode()).digest()


@asynccontextmanager
async def members(count: int) -> AsyncIterator[list[Network]]:
    """Nodes in a line: each has met the one before it only."""
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(member(f"node {number}")) for number in range(count)]
        for one, next_one in pairwise(found):
            await meet(one, next_one)
        yield found


async def test_what_one_provides_is_found_by_one_who_never_met_it() -> None:
    async with members(8) as nodes:
        key = key_of("a payload")
        with trio.fail_after(60):
            assert await nodes[0].dht.provide(key) >= 6
            assert await nodes[7].dht.providers(key, limit=4, timeout_s=20) == [nodes[0].peer_id]
            await nodes[7].reach(nodes[0].peer_id)
            assert await nodes[7].dht.providers(key_of("another"), limit=4, timeout_s=20) == []


async def test_with_the_setting_off_nobody_is_told_and_nobody_is_answered(alice: Network, bob: Network) -> None:
    async with member("silent", dht=False) as silent:
        await meet(alice, bob, silent)
        key = key_of("kept to himself")
        with trio.fail_after(30):
            assert await silent.dht.provide(key) == 0
            assert await bob.dht.provide(key) == 1
            assert await silent.dht.providers(key, limit=1, timeout_s=5) == []
