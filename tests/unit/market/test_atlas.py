from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from node.market.atlas import Atlas, mean_of
from node.market.sketch import closeness, sketch
from protocols.offers.offer import Offer
from tests.support.items import ALICE, Purse, an_offer, signed
from tests.unit.market.conftest import OpenStall

DIM = 32


def points(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal(DIM) + 0.7 * rng.standard_normal((count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_the_mean_of_a_sketch_is_the_mean_of_its_records() -> None:
    vectors = points(500, 1)
    mean = vectors.mean(axis=0)
    found = mean_of(sketch(vectors))
    assert float(found @ mean / np.linalg.norm(found) / np.linalg.norm(mean)) > 0.999
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(mean), rel=0.02)


def test_the_nearest_are_found_while_keys_come_and_go() -> None:
    dice, atlas, truth = random.Random(2), Atlas(DIM), {}
    for step in range(3_000):
        if truth and dice.random() < 0.4:
            key = dice.choice(sorted(truth))
            atlas.remove(key)
            del truth[key]
        else:
            key, group = f"key-{step}", dice.choice(["a", "b"])
            truth[key] = (points(1, step)[0], group)
            atlas.add(key, *truth[key])
    assert len(atlas) == len(truth) > 256
    query = points(1, 99)[0]
    for group in ("a", "b", None):
        right = sorted((k for k, (_, g) in truth.items() if group in (None, g)), key=lambda k: -(truth[k][0] @ query))
        found = atlas.nearest(query, 50, group)
        assert found == right[:50]
    assert atlas.nearest(query, 5, "c") == []
    atlas.remove("never there")


async def test_a_catalogue_ranks_what_fits(open_stall: OpenStall) -> None:
    async with open_stall(ALICE, 1) as alice:
        made = {}
        for number in range(1, 61):
            offer = msgspec.structs.replace(
                an_offer(offer_no=number, domain="food" if number % 3 else "fashion"),
                sketch=sketch(points(40, number)),
            )
            item = signed(offer, Purse(1 + number % 4), ALICE)
            await alice.catalog.admit(item.raw, ALICE)
            made[item.id] = offer
        query = points(1, 7)[0]

        def best(domain: str | None, even: bool) -> list[str]:
            fitting = [id for id, o in made.items() if domain in (None, o.domain) and (not even or o.offer_no % 2 == 0)]
            return sorted(fitting, key=lambda id: -closeness(query, made[id].sketch))

        for domain, even in ((None, False), ("fashion", False), ("fashion", True), ("food", True)):
            found = alice.catalog.nearest(
                query, an_offer().model_id, domain, 5, lambda one, even=even: not even or one.body.offer_no % 2 == 0
            )
            assert [one.item.id for one, _ in found] == best(domain, even)[:5]
        assert alice.catalog.nearest(query, "another model", None, 5, lambda one: True) == []
        gone = best(None, False)[0]
        alice.now = made[gone].expires_at + 1
        assert alice.catalog.nearest(query, an_offer().model_id, None, 5, lambda one: True) == []
        assert alice.catalog.get(gone, Offer) is None
