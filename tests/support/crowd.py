"""Very many offers, quickly: 16 centroids of 384 dimensions each, around a topic, no two alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import trio

from node.journal import open_journal
from node.journal.catalog import CatalogStore
from node.market.catalog.catalog import Catalog, Listed, Space
from node.market.kinds import Context
from protocols.codec import encode
from protocols.envelope import Envelope, Item
from protocols.ids import PeerId, item_id
from protocols.offers.offer import KIND, Centroid, Offer
from protocols.quality import PPM, WEIGHTS, Quality
from tests.support.items import ALICE, CHAIN_ID, NETWORK, NOW, Purse, an_offer

DIM = 384
CENTROIDS = 16
DOMAINS = ("fashion", "food", "science", "games")
LICENCES = ("CC0-1.0", "MIT", "CC-BY-4.0")
TOPICS = 200
AT_ONCE = 500
SPACE = Space(an_offer().model_id, DIM)


def topics() -> np.ndarray:
    """(TOPICS, DIM) directions."""
    return np.random.default_rng(7).standard_normal((TOPICS, DIM)).astype(np.float32)


def offers(count: int, first: int = 0, peer_time: int = NOW) -> Iterator[Offer]:
    """The offers number `first` to `first + count`."""
    middles = topics()
    for start in range(first, first + count, AT_ONCE):
        rng = np.random.default_rng(1_000_000 + start)
        many = min(AT_ONCE, first + count - start)
        own = middles[np.arange(start, start + many) % TOPICS] + 0.9 * rng.standard_normal((many, DIM), np.float32)
        rows = own[:, None, :] + 0.9 * rng.standard_normal((many, CENTROIDS, DIM), np.float32)
        cells = np.rint(rows * (127 / np.abs(rows).max(axis=2, keepdims=True))).astype(np.int8)
        focus = rng.integers(400_000, 800_000, (many, CENTROIDS))
        for place in range(many):
            number = start + place
            yield msgspec.structs.replace(
                an_offer(),
                offer_no=number + 1,
                title=f"Dataset number {number}",
                domain=DOMAINS[number % len(DOMAINS)],
                licence=LICENCES[number % len(LICENCES)],
                price_wei=str((1 + number % 1_000) * 10**16),
                quality=Quality(**dict.fromkeys(WEIGHTS, 300_000 + number % 7 * 100_000)),
                root=number.to_bytes(32, "big"),
                created_at=peer_time - number % 5_000,
                sketch=[
                    Centroid(vector=row.tobytes(), weight=PPM // CENTROIDS, focus=int(one))
                    for row, one in zip(cells[place], focus[place], strict=True)
                ],
            )


def unsigned(offer: Offer, purse: Purse, peer: PeerId = ALICE) -> Listed[Offer]:
    """An offer as if it had been examined; its signature is none."""
    body = encode(offer)
    envelope = Envelope(kind=KIND, body=body, peer=peer, signer=purse.address, signature=bytes(64))
    id = item_id(KIND, peer, purse.address, body)
    return Listed(
        item=Item(id=id, kind=KIND, body=body, peer=peer, signer=purse.address, raw=encode(envelope)), body=offer
    )


async def fill(path: Path, count: int) -> None:
    """A journal with so many offers of 64 sellers."""
    purses = [Purse(number) for number in range(1, 65)]
    async with open_journal(path) as journal:
        catalog = Catalog(CatalogStore(journal), Context(NETWORK, CHAIN_ID), lambda: NOW, space=SPACE)
        batch: list[Listed[Offer]] = []
        for number, offer in enumerate(offers(count)):
            batch.append(unsigned(offer, purses[number % 64]))
            if len(batch) == AT_ONCE:
                await catalog.keep(batch)  # type: ignore[arg-type]
                batch.clear()
                await trio.lowlevel.checkpoint()
        await catalog.keep(batch)  # type: ignore[arg-type]
