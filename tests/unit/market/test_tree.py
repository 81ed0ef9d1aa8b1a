from __future__ import annotations

import hashlib
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from node.market.catalog.tree import EMPTY, Tree, inner_digest, leaf_digest
from protocols.catalog.messages import MAX_LEAF


def an_id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def filled(ids: list[str]) -> Tree:
    tree = Tree()
    for id in ids:
        tree.add(id)
    return tree


def everything(tree: Tree, prefix: str = "") -> list[bytes]:
    node = tree.node(prefix)
    if not node.children:
        assert node.digest == leaf_digest(node.ids)
        return node.ids
    assert node.digest == inner_digest(node.children)
    below = [tree.node(prefix + digit) for digit in "0123456789abcdef"]
    assert [one.digest for one in below] == node.children
    return [id for digit in "0123456789abcdef" for id in everything(tree, prefix + digit)]


def test_a_set_has_one_tree_however_it_came_about() -> None:
    dice, tree, truth = random.Random(1), Tree(), set()
    for step in range(6_000):
        if truth and dice.random() < (0.3 if step < 3_000 else 0.7):
            gone = dice.choice(sorted(truth)) if step % 50 == 0 else next(iter(truth))
            tree.remove(gone)
            truth.discard(gone)
        else:
            tree.add(an_id(step))
            truth.add(an_id(step))
        if step % 500 == 0:
            assert tree.digest("") == filled(sorted(truth)).digest("")
    assert [id.hex() for id in everything(tree)] == sorted(truth)
    assert len(tree) == len(truth)
    for id in truth:
        tree.remove(id)
    assert tree.digest("") == EMPTY == Tree().digest("")


def test_ids_that_begin_alike_are_split_as_far_as_it_takes() -> None:
    alike = ["abcdef" + an_id(number)[6:] for number in range(MAX_LEAF + 1)]
    tree = filled(alike)
    assert [id.hex() for id in everything(tree)] == sorted(alike)
    tree.remove(alike[0])
    assert len(tree.node("").ids) == MAX_LEAF, "one leaf again"


@given(st.lists(st.integers(0, 200), max_size=150), st.text("0123456789abcdef", max_size=63))
@settings(max_examples=60, deadline=None)
def test_any_question_has_an_answer(numbers: list[int], prefix: str) -> None:
    tree = filled([an_id(number) for number in numbers])
    node = tree.node(prefix)
    assert all(id.hex().startswith(prefix) for id in node.ids)
    assert tree.node(prefix, [node.digest]).ids == []
    assert tree.digest("") == filled([an_id(number) for number in set(numbers)]).digest("")
