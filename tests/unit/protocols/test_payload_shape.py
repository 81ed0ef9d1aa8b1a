"""The messages of `/schwung/payload/1` and the shape of a content's tree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.codec import decode, encode
from protocols.errors import Malformed
from protocols.ids import Cid
from protocols.payload import (
    LEAF_BYTES,
    LINKS_PER_NODE,
    MAX_ASK_BYTES,
    MAX_LEAVES,
    MAX_NODES,
    Leaves,
    Nodes,
    Open,
    Opened,
    Shape,
)
from protocols.payload.shape import MAX_PAYLOAD_LEAVES

ROOT = Cid("bafybeictbxijolljtwet55ltmqunq5vy7qt3toqi6aoevp6s4opeq5p3wi")


@given(st.integers(0, 1 << 40))
def test_a_shape_adds_up(size: int) -> None:
    shape = Shape(size)
    if size < 100 * LEAF_BYTES * LINKS_PER_NODE:  # the rest is too many to walk
        assert sum(shape.leaf_bytes(place) for place in range(shape.leaves)) == size
        children = list(shape.children())
        assert len(children) == shape.nodes
        assert sum(children) == shape.nodes - 1 + shape.leaves if shape.nodes else shape.leaves == 1
    assert shape.widths[0] == 1
    assert shape.leaves == max(1, -(-size // LEAF_BYTES))


@pytest.mark.parametrize(
    ("leaves", "widths"),
    [(1, (1,)), (2, (1, 2)), (174, (1, 174)), (175, (1, 2, 175)), (174**2 + 1, (1, 2, 175, 30277))],
)
def test_levels_are_those_of_a_balanced_tree(leaves: int, widths: tuple[int, ...]) -> None:
    assert Shape(leaves * LEAF_BYTES).widths == widths
    assert Shape((leaves - 1) * LEAF_BYTES + 1).widths == widths


def test_what_no_content_has_is_refused() -> None:
    for size in (-1, MAX_PAYLOAD_LEAVES * LEAF_BYTES + 1):
        with pytest.raises(ValueError, match="the limit is"):
            Shape(size)
    with pytest.raises(IndexError):
        Shape(LEAF_BYTES).leaf_bytes(1)


def test_asks_have_these_bytes() -> None:
    assert encode(Leaves(first=5, count=4)).hex() == "83a474797065a66c6561766573a5666972737405a5636f756e7404"
    assert encode(Opened()).hex() == "81a6726561736f6ea0"


@given(st.integers(0, MAX_PAYLOAD_LEAVES - 1), st.integers(1, MAX_LEAVES), st.integers(1, MAX_NODES))
def test_asks_go_there_and_back_within_their_bound(first: int, leaves: int, nodes: int) -> None:
    for ask in (Leaves(first=first, count=leaves), Nodes(first=first, count=nodes)):
        assert decode(encode(ask), Nodes | Leaves, max_bytes=MAX_ASK_BYTES) == ask
    assert decode(encode(Open(root=ROOT)), Open, max_bytes=MAX_ASK_BYTES).root == ROOT


@pytest.mark.parametrize(
    "ask",
    [
        {"type": "leaves", "first": -1, "count": 1},
        {"type": "leaves", "first": 0, "count": 0},
        {"type": "leaves", "first": 0, "count": MAX_LEAVES + 1},
        {"type": "leaves", "first": MAX_PAYLOAD_LEAVES, "count": 1},
        {"type": "leaves", "first": 1 << 70, "count": 1},
        {"type": "leaves", "first": 0, "count": 1, "also": 1},
        {"type": "nodes", "first": 0, "count": MAX_NODES + 1},
        {"type": "twigs", "first": 0, "count": 1},
        {"first": 0, "count": 1},
        [],
    ],
)
def test_hostile_asks_are_refused(ask: object) -> None:
    try:
        raw = encode(ask)
    except OverflowError:
        raw = b"\x83\xa4type\xa6leaves\xa5first\xcf" + b"\xff" * 8 + b"\xa5count\x01"
    with pytest.raises(Malformed):
        decode(raw, Nodes | Leaves, max_bytes=MAX_ASK_BYTES)


@pytest.mark.parametrize("root", ["", "b", ROOT[:-1], ROOT + "a", ROOT + "\n", ROOT.upper(), "../" + ROOT[3:]])
def test_hostile_roots_are_refused(root: str) -> None:
    with pytest.raises(Malformed):
        decode(encode({"type": "open", "root": root}), Open, max_bytes=MAX_ASK_BYTES)


@given(st.binary(max_size=MAX_ASK_BYTES + 10))
def test_any_bytes_decode_or_are_refused(raw: bytes) -> None:
    for kind in (Open, Nodes | Leaves, Opened):
        try:
            decode(raw, kind, max_bytes=MAX_ASK_BYTES)
        except Malformed:
            continue
