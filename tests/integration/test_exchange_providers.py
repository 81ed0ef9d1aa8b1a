"""Whose bytes a buyer gets: the seller's, or those of anybody who holds the same sealed payload; and how long it is
pinned.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from node.blocks import Blocks, EmbeddedBlocks, open_embedded, open_rpc
from node.market.pinning import Pinning
from node.network import Network
from protocols.ids import Cid
from protocols.offers.offer import Offer
from tests.integration.test_exchange import TOKENS, Place, chain, fund, place
from tests.integration.test_exchange import meet as trade
from tests.support import jsipfs
from tests.support.items import ALICE, BOB
from tests.support.network import meet, member
from tests.support.trader import Trader, open_trader

__all__ = ["chain", "place"]  # fixtures

pytestmark = pytest.mark.chain


class Stall(NamedTuple):
    network: Network
    blocks: EmbeddedBlocks
    trader: Trader


def seat(place: Place, peer: str, number: int, blocks: Any) -> Any:
    key = bytes.fromhex(place.anvil.keys[number].removeprefix("0x"))
    folder = place.folder / f"trader{number}"
    return open_trader(peer, key, place.hub, blocks, folder, place.anvil.rpc_url, place.deployment)


@asynccontextmanager
async def stall(place: Place, name: str, number: int, share_bytes: int = 0) -> AsyncIterator[Stall]:
    """A trader whose payloads lie in a store of his own and go over a real host."""
    store = place.folder / f"blocks{number}"
    async with (
        member(name) as network,
        open_embedded(store, network, share_bytes=share_bytes) as blocks,
        seat(place, network.peer_id, number, blocks) as trader,
    ):
        yield Stall(network, blocks, trader)


async def buy(buyer: Trader, offer: str) -> str:
    with trio.fail_after(10):
        while buyer.catalog.get(offer, Offer) is None:
            await trio.sleep(0.01)
    return await buyer.over(await buyer.desk.buy(offer, 1_000 * TOKENS), timeout_s=120)


@pytest.mark.parametrize(("share_bytes", "outcome"), [(1 << 20, "settled"), (0, "refused")])
async def test_a_payload_that_its_seller_has_lost_comes_from_an_earlier_buyer_who_shares(
    place: Place, share_bytes: int, outcome: str
) -> None:
    async with (
        stall(place, "alice", 1) as alice,
        stall(place, "bob", 2, share_bytes) as bob,
        stall(place, "carol", 3) as carol,
    ):
        await meet(bob.network, alice.network, carol.network)
        offer = await trade(alice.trader, bob.trader, place)
        cid = Cid(bob.trader.offers.get(offer).body.cid)
        assert await buy(bob.trader, offer) == "settled"
        await fund(place, carol.trader)
        await carol.trader.gossip.follow("fashion")
        await alice.network.close()  # he still hands keys over, by the tests' own wire
        assert await buy(carol.trader, offer) == outcome
        assert (bob.blocks.serving.sent_bytes > 0) == (outcome == "settled")
        assert await carol.blocks.has(cid) == (outcome == "settled")
        assert await bob.blocks.pins() == [], "what was bought is shared, and no pin of one's own"


@asynccontextmanager
async def keeping(trader: Trader, blocks: Blocks) -> AsyncIterator[None]:
    """The service that pins and unpins, as the node runs it."""
    pinning = Pinning(
        blocks=blocks,
        publications=trader.publications,
        deals=trader.deals,
        events=trader.events,
        clock=lambda: 0,  # nothing expires
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(pinning.serve)
        yield
        nursery.cancel_scope.cancel()


async def pinned(blocks: Blocks, cid: Cid, there: bool) -> None:
    with trio.fail_after(30):
        while (cid in await blocks.pins()) != there:
            await trio.sleep(0.05)


async def hold_and_release(place: Place, blocks: Any) -> None:
    """Publish: pinned. Lost: pinned again. Withdrawn: pinned no more. What others pinned stays."""
    foreign = await blocks.add(b"somebody else's affair")
    async with seat(place, ALICE, 1, blocks) as alice, seat(place, BOB, 2, blocks) as bob, keeping(alice, blocks):
        offer = await trade(alice, bob, place)
        cid = Cid(alice.offers.get(offer).body.cid)
        await pinned(blocks, cid, there=True)
        await blocks.unpin(cid)
        alice.events.publish("offers", {"offer": offer})
        await pinned(blocks, cid, there=True)
        await alice.offers.withdraw(offer)
        await pinned(blocks, cid, there=False)
        assert foreign in await blocks.pins()


async def test_a_payload_is_pinned_as_long_as_its_offer_is_open(place: Place) -> None:
    async with open_embedded(place.folder / "store", None) as blocks:
        await hold_and_release(place, blocks)


@pytest.mark.interop
@pytest.mark.skipif(bool(jsipfs.missing()), reason=jsipfs.missing() or "present")
async def test_an_external_daemon_pins_a_payload_as_long_as_its_offer_is_open(place: Place, tmp_path: Path) -> None:
    async with jsipfs.daemon(tmp_path) as address, open_rpc(address) as blocks:
        await hold_and_release(place, blocks)
