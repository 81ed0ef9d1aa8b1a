from __future__ import annotations

import msgspec
import numpy as np
import pytest

from node.market.search.routing import MAX_REGIONS, choose, expected_hits, shelve
from node.market.search.sketch import sketch
from node.market.search.trust import HIGHEST, LOWEST, Trust, overstated
from protocols.ids import PeerId
from protocols.offers.offer import Centroid, Offer
from tests.support.items import an_offer

DIM = 64


def topic(number: int, count: int, seed: int, noise: float = 0.6) -> np.ndarray:
    """`count` unit vectors around the direction `number`; the topics are far from one another."""
    rng = np.random.default_rng(seed)
    middle = np.random.default_rng(1_000 + number).standard_normal(DIM)
    points = middle + noise * rng.standard_normal((count, DIM))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def offer_of(vectors: np.ndarray, number: int) -> Offer:
    root = number.to_bytes(32, "big")
    return msgspec.structs.replace(an_offer(), records=len(vectors), root=root, sketch=sketch(vectors))


def market(peers: dict[str, np.ndarray]) -> tuple[dict[PeerId, np.ndarray], list[tuple[PeerId, Offer, None]]]:
    named = {PeerId(name): vectors for name, vectors in peers.items()}
    return named, [(peer, offer_of(vectors, n), None) for n, (peer, vectors) in enumerate(named.items())]


def true_hits(query: np.ndarray, shards: dict[PeerId, np.ndarray], wanted: int) -> dict[PeerId, int]:
    scored = sorted(((float(v @ query), peer) for peer, vectors in shards.items() for v in vectors), reverse=True)
    best = [peer for _, peer in scored[:wanted]]
    return {peer: best.count(peer) for peer in shards}


def test_the_peers_that_hold_the_best_hits_are_expected_to() -> None:
    shards, offers = market({f"peer-{n}": np.vstack([topic(n, 80, n), topic(n + 1, 40, 50 + n)]) for n in range(10)})
    shelves = shelve(offers, DIM)
    caught = 0
    for n in range(10):
        query = topic(n, 1, 900 + n)[0]
        truth = true_hits(query, shards, 10)
        expected = expected_hits(query, shelves, 10)
        assert sum(expected.values()) == pytest.approx(10, abs=0.1)
        asked = choose(expected, {}, most=2, least=0.0)
        caught += sum(truth[peer] for peer in asked)
    assert caught >= 90, "two of ten peers hold at least nine of ten hits, and are found"


def test_a_peer_with_more_records_of_the_topic_promises_more() -> None:
    _, offers = market({"small": topic(1, 20, 1), "large": topic(1, 400, 2), "other": topic(2, 400, 3)})
    expected = expected_hits(topic(1, 1, 9)[0], shelve(offers, DIM), 10)
    assert expected[PeerId("large")] > expected[PeerId("small")] > expected[PeerId("other")]


def test_good_hits_at_hand_lower_what_others_can_add() -> None:
    _, offers = market({"a": topic(1, 200, 1), "b": topic(1, 200, 2)})
    query, shelves = topic(1, 1, 9)[0], shelve(offers, DIM)
    before = expected_hits(query, shelves, 10)
    after = expected_hits(query, shelves, 10, known=[0.99] * 9, asked=[PeerId("a")])
    assert PeerId("a") not in after
    assert after[PeerId("b")] <= 1.1 < before[PeerId("b")]
    assert choose(after, {}, most=5, least=1.2) == []


def test_the_same_data_offered_twice_counts_once_and_foreign_vectors_not_at_all() -> None:
    offer = offer_of(topic(1, 100, 1), 1)
    once = shelve([(PeerId("a"), offer, None)], DIM)
    again = msgspec.structs.replace(offer, offer_no=9)
    twice = shelve([(PeerId("a"), offer, None), (PeerId("a"), again, None)], DIM)
    assert once.records.sum() == twice.records.sum() == pytest.approx(100, abs=0.1)
    assert shelve([(PeerId("a"), offer, None)], DIM * 2).peers == ()
    assert expected_hits(topic(1, 1, 9)[0], shelve([], DIM), 10) == {}


def test_what_any_record_scores() -> None:
    vectors = np.vstack([topic(1, 100, 1), topic(2, 100, 2)])
    query = topic(1, 1, 9)[0]
    shelves = shelve([(PeerId("a"), offer_of(vectors, 1), None)], DIM)
    assert shelves.usual(query) == pytest.approx(float((vectors @ query).mean()), abs=0.01)


def test_one_peer_cannot_fill_the_shelves() -> None:
    centroid = Centroid(vector=bytes([127] + [0] * (DIM - 1)), weight=62_500, focus=900_000)
    many = [msgspec.structs.replace(an_offer(), root=n.to_bytes(32, "big"), sketch=[centroid] * 16) for n in range(50)]
    assert len(shelve([(PeerId("a"), one, None) for one in many], DIM).records) == MAX_REGIONS


def test_who_promised_more_than_came_is_asked_less_and_can_win_it_back() -> None:
    trust, liar, honest = Trust(), PeerId("liar"), PeerId("honest")
    for _ in range(20):
        trust.came(liar, expected=8.0, hits=0)
        trust.came(honest, expected=2.0, hits=2)
    assert trust.factors[liar] < 0.15
    assert trust.factors[honest] == pytest.approx(1.0)
    assert choose({liar: 8.0, honest: 2.0}, trust.factors, most=1, least=0.3) == [honest]
    for _ in range(20):
        trust.came(liar, expected=2.0, hits=3)
    assert trust.factors[liar] > 1.0
    for _ in range(10):
        trust.lied(liar)
    assert trust.factors[liar] == LOWEST
    for _ in range(50):
        trust.came(honest, expected=0.1, hits=10)
    assert trust.factors[honest] == HIGHEST


def test_scores_that_the_shown_text_does_not_bear_out() -> None:
    assert overstated([0.9, 0.89, 0.88], [0.80, 0.78, 0.82], usual=0.75)
    assert not overstated([0.9, 0.89, 0.88], [0.86, 0.87, 0.85], usual=0.75)
    assert not overstated([0.99, 0.99], [0.1, 0.1], usual=0.1), "two are too few to judge"
