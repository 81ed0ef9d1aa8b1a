"""A connection that ended makes room for the next one, however often."""

from __future__ import annotations

from contextlib import suppress

import trio

from node.network import NetworkError
from tests.support.network import meet, member

MOST = 4


async def test_a_node_takes_in_more_peers_one_after_the_other_than_it_may_hold_at_once() -> None:
    async with member("alice", max_connections=MOST) as alice:
        for number in range(3 * MOST):
            async with member(f"guest{number}") as guest:
                await meet(alice, guest)
            with trio.fail_after(5):
                while alice.peers():
                    await trio.sleep(0.01)


async def test_a_node_holds_no_more_peers_than_it_may() -> None:
    async with member("alice", max_connections=1) as alice, member("bob") as bob, member("carol") as carol:
        await meet(alice, bob)
        with trio.move_on_after(3), suppress(NetworkError):
            await carol.connect(alice.addresses[0])
        assert [peer.peer for peer in alice.peers()] == [bob.peer_id]
