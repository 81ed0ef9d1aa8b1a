from __future__ import annotations

import hashlib
import random

import msgspec
import numpy as np
import pytest

from node.market.catalog.atlas import ROWS, Atlas, mean_of
from node.market.catalog.wanted import Wanted
from node.market.search.sketch import closeness, sketch
from protocols.offers.offer import Offer
from protocols.quality import WEIGHTS, Quality
from tests.support.items import ALICE, NOW, Purse, an_offer, signed
from tests.unit.market.conftest import DIM, OpenStall


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


def test_the_nearest_and_the_newest_are_found_while_offers_come_and_go() -> None:
    dice, atlas, truth, rows = random.Random(2), Atlas(DIM), {}, {}
    for step in range(ROWS + 3_000):
        if truth and dice.random() < (0.05 if step < ROWS else 0.6):
            key = dice.choice(list(truth))
            atlas.remove(rows.pop(key))
            del truth[key]
        else:
            key = hashlib.sha256(str(step).encode()).hexdigest()
            offer = an_offer(
                domain=dice.choice(["food", "fashion"]),
                licence=dice.choice(["CC0-1.0", "MIT"]),
                price_wei=str(dice.choice([5, 10**18, 2**50, 2**90, 2**90 + 1])),
                quality=Quality(**dict.fromkeys(WEIGHTS, dice.choice([300_000, 900_000]))),
                created_at=NOW + dice.randrange(50),
                expires_at=NOW + 1_000 + dice.randrange(2),
            )
            truth[key] = (dice.choice(["alice", "bob"]), offer, points(1, step)[0])
            rows[key] = atlas.add(key, *truth[key])
    assert len(atlas) == len(truth)
    query = points(1, 99)[0]
    for wanted in (
        Wanted(),
        Wanted(domain="food"),
        Wanted(licence="MIT", signer="bob"),
        Wanted(max_price_wei=2**90, stranger="alice"),
        Wanted(max_price_wei=4),
        Wanted(max_price_wei=10**18, min_quality_ppm=500_000),
        Wanted(model_id="another"),
    ):
        for now in (NOW, NOW + 1_000):
            meant = {k: v for k, v in truth.items() if wanted.admits(v[0], v[1]) and v[1].expires_at > now}
            near = sorted(meant, key=lambda k: -(truth[k][2] @ query))
            assert atlas.nearest(query, 50, wanted, now) == near[:50]
            new = sorted(meant, key=lambda k: (-truth[k][1].created_at, k))
            assert atlas.newest(50, wanted, now) == new[:50]
            if len(new) > 60:
                assert atlas.newest(5, wanted, now, (truth[new[49]][1].created_at, new[49])) == new[50:55]
            assert atlas.count(wanted, now) == len(meant)
    for row in rows.values():
        atlas.remove(row)
    assert not len(atlas)
    assert not len(atlas._names), "nobody's name is kept"


async def test_a_catalogue_ranks_what_fits(open_stall: OpenStall) -> None:
    async with open_stall(ALICE, 1) as alice:
        made = {}
        for number in range(1, 61):
            offer = msgspec.structs.replace(
                an_offer(
                    offer_no=number,
                    domain="food" if number % 3 else "fashion",
                    licence="odd" if number % 2 else "even",
                ),
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
            wanted = Wanted(domain=domain, licence="even" if even else None)
            found = await alice.catalog.nearest(query, an_offer().model_id, 5, wanted)
            assert [one.item.id for one, _ in found] == best(domain, even)[:5]
            assert [score for _, score in found] == pytest.approx(
                [closeness(query, made[one.item.id].sketch) for one, _ in found]
            )
            listed = await alice.catalog.newest(100, wanted)
            assert {one.item.id for one in listed} == set(best(domain, even))
        assert await alice.catalog.nearest(query, "another model", 5) == []
        gone = best(None, False)[0]
        alice.now = made[gone].expires_at + 1
        assert await alice.catalog.nearest(query, an_offer().model_id, 5) == []
        assert await alice.catalog.newest(5, Wanted()) == []
        assert alice.catalog.get(gone, Offer) is None
