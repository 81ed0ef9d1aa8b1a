from __future__ import annotations

import msgspec
import numpy as np
import pytest

from node.market.search.outline import OUTLINE_BYTES, outline, read
from node.market.search.regions import partition, shape_of
from node.market.search.routing import expected_hits, shelve
from node.market.search.sketch import sketch
from protocols.codec import encode
from protocols.errors import RuleBroken
from protocols.ids import PeerId
from protocols.offers.offer import Offer
from protocols.search.outline import MAX_REPLY_BYTES, Axis, OutlineReply, Region
from tests.support.items import an_offer
from tests.support.records import clustered

DIM = 64


def offer_of(vectors: np.ndarray, number: int = 1) -> Offer:
    return an_offer(records=len(vectors), root=number.to_bytes(32, "big"), sketch=sketch(vectors))


@pytest.mark.parametrize(("count", "most", "least"), [(1, 8, 4), (7, 8, 4), (100, 8, 4), (500, 64, 16), (500, 500, 3)])
def test_parts_hold_every_row_once_and_none_fewer_than_the_floor(count: int, most: int, least: int) -> None:
    vectors = clustered(count, DIM, 12)
    parts = partition(vectors, most, least)
    assert sorted(np.concatenate(parts)) == list(range(count))
    assert len(parts) <= most
    assert min(map(len, parts)) >= min(least, count)
    again = partition(vectors.copy(), most, least)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


def test_an_outlier_has_no_centroid_of_its_own() -> None:
    vectors = clustered(200, DIM, 3)
    outlier = np.zeros(DIM, np.float32)
    outlier[5] = 1.0
    told = sketch(np.vstack([vectors, outlier]))
    nearest = max(
        float(np.frombuffer(c.vector, np.int8)[5]) / np.linalg.norm(np.frombuffer(c.vector, np.int8)) for c in told
    )
    assert nearest < 0.9


def test_records_that_are_all_the_same_have_an_outline() -> None:
    same = np.repeat(clustered(1, DIM, 1), 300, axis=0)
    found = read(outline(same, 16), offer_of(same))
    assert found.records.sum() == pytest.approx(300)
    assert found.rest.max() < 0.01


def test_axes_are_the_directions_in_which_records_differ() -> None:
    rng = np.random.default_rng(1)
    vectors = np.zeros((400, DIM), np.float32)
    vectors[:, 0] = 1.0
    vectors[:, 1] = rng.normal(0, 0.3, 400)
    vectors[:, 2] = rng.normal(0, 0.1, 400)
    shape = shape_of(vectors, 2)
    assert np.linalg.norm(shape.axes, axis=1) == pytest.approx([0.3, 0.1], rel=0.15)
    assert abs(shape.axes[0, 1]) > 0.25
    assert shape_of(vectors[:1], 2).axes.shape == (0, DIM)


def test_no_more_axes_are_told_than_half_the_records_and_no_more_bytes_than_the_bound() -> None:
    vectors = clustered(4_000, 384, 50)
    regions = outline(vectors, 4)
    assert all(len(region.axes) <= region.records // 2 for region in regions)
    assert len(encode(OutlineReply(regions=regions))) <= OUTLINE_BYTES < MAX_REPLY_BYTES
    wide = outline(clustered(2_000, 2_048, 20), 16)
    assert len(encode(OutlineReply(regions=wide))) <= OUTLINE_BYTES


def test_an_outline_tells_the_spread_of_scores_better_than_a_sketch() -> None:
    vectors = clustered(600, DIM, 6)
    offer, peer = offer_of(vectors), PeerId("a")
    rough = shelve([(peer, offer, None)], DIM)
    fine = shelve([(peer, offer, read(outline(vectors, 16), offer))], DIM)
    off: dict[str, float] = {"rough": 0.0, "fine": 0.0}
    for query in clustered(40, DIM, 6, seed=0)[:40]:
        true = np.sort(vectors @ query)[::-1]
        for name, shelves in (("rough", rough), ("fine", fine)):
            middle, spread = shelves.means @ query, shelves.spread(query)
            mean = float(shelves.records @ middle / shelves.records.sum())
            square = float(shelves.records @ (middle**2 + spread**2) / shelves.records.sum())
            off[name] += abs((square - mean**2) ** 0.5 - float(true.std()))
    assert off["fine"] < off["rough"]
    assert sum(expected_hits(vectors[0], fine, 10).values()) == pytest.approx(10, abs=0.1)


def hostile(change: dict[str, object]) -> list[Region]:
    plain: dict[str, object] = {"records": 10, "vector": bytes([127] + [0] * (DIM - 1)), "focus": 900_000, "axes": []}
    return [Region(**{**plain, **change})]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "regions",
    [
        [],
        hostile({"vector": bytes([127] * 8)}),
        hostile({"axes": [Axis(vector=bytes([1] * 8), spread=1)]}),
        hostile({"vector": bytes(DIM)}),
        hostile({"records": 2**32 - 1}),
        outline(clustered(300, DIM, 3, seed=9), 8),
    ],
)
def test_an_outline_that_contradicts_the_signed_sketch_is_refused(regions: list[Region]) -> None:
    with pytest.raises(RuleBroken):
        read(regions, offer_of(clustered(300, DIM, 3, seed=1)))


def test_counts_of_any_size_make_no_peer_promise_more_than_its_offer_holds() -> None:
    vectors = clustered(300, DIM, 3)
    offer = offer_of(vectors)
    loud = [msgspec.structs.replace(one, records=one.records * 10_000_000) for one in outline(vectors, 8)]
    found = read(loud, offer)
    assert found.records.sum() == pytest.approx(300)
    hits = expected_hits(vectors[0], shelve([(PeerId("a"), offer, found)], DIM), 10)
    assert 0 <= hits[PeerId("a")] <= 10.1


def test_axes_longer_than_unit_vectors_allow_are_refused() -> None:
    vectors = clustered(300, DIM, 3)
    wide = [
        msgspec.structs.replace(one, axes=[Axis(vector=one.vector, spread=1_000_000)] * 16)
        for one in outline(vectors, 8)
    ]
    with pytest.raises(RuleBroken):
        read(wide, offer_of(vectors))
