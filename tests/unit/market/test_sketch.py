from __future__ import annotations

import numpy as np
import pytest

from node.market.catalog.catalog import Listed
from node.market.match import Match, meets, rank
from node.market.search.sketch import MAX_SKETCH, closeness, dequantise, quantise, sketch
from protocols.quality import PPM
from tests.support.items import ALICE, Purse, a_demand, an_offer, signed


def blobs(count: int, centres: int, dim: int = 64, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((centres, dim))
    labels = np.arange(count) % centres
    points = middles[labels] * 4 + rng.standard_normal((count, dim))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), labels


def test_quantising_keeps_the_cosine_within_one_percent() -> None:
    vectors, _ = blobs(200, 5, dim=384)
    for vector in vectors:
        assert float(dequantise(quantise(vector)) @ vector) > 0.99


def test_a_sketch_finds_the_topics_and_their_shares() -> None:
    vectors, labels = blobs(240, 3)
    found = sketch(vectors)
    assert sum(c.weight for c in found) == pytest.approx(PPM, abs=10)
    for topic in range(3):
        middle = vectors[labels == topic].mean(axis=0)
        assert closeness(middle / np.linalg.norm(middle), found) > 0.97


def test_a_sketch_is_bounded_and_deterministic() -> None:
    vectors, _ = blobs(600, 20)
    assert len(sketch(vectors)) <= MAX_SKETCH
    assert sketch(vectors) == sketch(vectors.copy())


def test_one_record_has_a_sketch_and_zero_vectors_do_no_harm() -> None:
    vectors, _ = blobs(1, 1)
    assert len(sketch(vectors)) == 1
    assert sketch(np.zeros((3, 8), np.float32))[0].weight == PPM


def test_a_query_of_another_dimension_is_far_from_everything() -> None:
    vectors, _ = blobs(50, 2)
    assert closeness(np.ones(8, np.float32), sketch(vectors)) == -1.0


def test_matching_wants_domain_model_and_price() -> None:
    assert meets(a_demand(), an_offer())
    assert not meets(a_demand(domain="food"), an_offer())
    assert not meets(a_demand(model_id="other"), an_offer())
    assert not meets(a_demand(max_price_wei="1"), an_offer())


def test_matches_come_best_first_and_cheap_first_among_equals() -> None:
    purse = Purse(3)
    far = an_offer(offer_no=1, sketch=[*sketch(np.eye(8, dtype=np.float32)[1:2])])
    dear = an_offer(offer_no=2)
    cheap = an_offer(offer_no=3, price_wei="1")
    listed = [Listed(item=signed(o, purse, ALICE), body=o) for o in (far, dear, cheap)]
    vector = dequantise(a_demand().vector)
    found = [Match(one, closeness(vector, one.body.sketch)) for one in listed]
    assert [m.offer.body.offer_no for m in rank(found)] == [3, 2, 1]
