"""A peer that restarts and asks again, before the one who answered has noticed that it was gone."""

from __future__ import annotations

from pathlib import Path

import trio

from node.blocks import open_embedded
from node.network import Network
from tests.support.network import meet, member


async def test_who_restarts_gets_the_next_payload_at_once(alice: Network, tmp_path: Path) -> None:
    async with open_embedded(tmp_path / "a", alice) as seller:
        for data in (b"first" * 1_000, b"second" * 1_000, b"third" * 1_000):
            cid = await seller.add(data)
            async with member("bob") as bob, open_embedded(tmp_path / "b", bob) as buyer:
                await meet(alice, bob)
                with trio.fail_after(5):  # a provider's silence is given up after eight
                    got = await buyer.fetch(cid, providers=[alice.peer_id], max_bytes=len(data), timeout_s=5)
                assert got == data
