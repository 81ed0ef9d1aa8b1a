"""Model cards for tests: one that keeps every rule, with changes."""

from __future__ import annotations

import msgspec

from protocols.ids import Address
from protocols.inference.card import Claim, ModelCard, Weight
from protocols.inference.weights import WeightsTree
from tests.support.items import CHAIN_ID, NETWORK, NOW, Purse

# dataset, whose it is, its weight; dataset 0 is the publisher's own
SPLIT = ((0, Purse(7).address, 250_000), (1, Purse(8).address, 700_000), (2, Purse(9).address, 50_000))


def a_card(split: tuple[tuple[int, Address, int], ...] = SPLIT, **changes: object) -> ModelCard:
    """A retriever's card."""
    card = ModelCard(
        network=NETWORK,
        chain_id=CHAIN_ID,
        model="ab" * 32,
        title="Fashion retrieval",
        domain="fashion",
        task="retrieval",
        base="test:hash:64",
        dim=64,
        artifact=bytes(32),
        claim=Claim(metric="ndcg@10", held_out=160, trained_on=500, before=240_000, after=320_000, gain_low=40_000),
        price_wei="1000",
        payee=Purse(99).address,
        publisher_bps=3_000,
        weights=[Weight(dataset=dataset, address=address, weight_ppm=weight) for dataset, address, weight in split],
        weights_root=WeightsTree([(dataset, weight) for dataset, _, weight in split]).root,
        created_at=NOW,
        expires_at=NOW + 3_600,
    )
    return msgspec.structs.replace(card, **changes)
