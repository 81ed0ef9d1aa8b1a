from __future__ import annotations

import numpy as np
import pytest

from node.models.evaluate import bootstrap, judge_classes, judge_retrieval, macro_f1, ndcg, ranks, recall


def test_ranks_count_the_better_documents():
    documents = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    queries = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    assert ranks(queries, documents).tolist() == [0, 1, 1]


def test_equal_vectors_earn_nothing():
    same = np.ones((20, 3))
    assert ranks(same, same).tolist() == [19] * 20
    assert ndcg(ranks(same, same)).sum() == 0


def test_ndcg_is_the_discount_of_the_rank():
    found = ndcg(np.array([0, 1, 2, 9, 10]))
    assert found == pytest.approx([1, 1 / np.log2(3), 0.5, 1 / np.log2(11), 0])
    assert recall(np.array([0, 9, 10])).tolist() == [1, 1, 0]


def test_macro_f1_by_hand():
    truth, predicted = np.array(["a", "a", "b", "c"]), np.array(["a", "b", "b", "b"])
    assert macro_f1(predicted, truth) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_the_interval_covers_the_mean_and_is_the_same_each_time():
    values = np.random.default_rng(5).random(200)
    found = bootstrap(values)
    assert found.low < found.mean < found.high
    normal = 2 * 1.96 * values.std() / np.sqrt(200)
    assert found.high - found.low == pytest.approx(normal, rel=0.1)
    assert found == bootstrap(values)


def test_a_gain_by_luck_is_not_called_better():
    rng = np.random.default_rng(0)
    queries, documents = rng.normal(size=(60, 8)), rng.normal(size=(60, 8))
    other = rng.normal(size=(60, 8))
    assert not judge_retrieval((queries, documents), (other, documents)).better
    assert judge_retrieval((queries, documents), (documents, documents)).better


def test_classes_are_judged_item_by_item():
    truth = np.array(list("aabb") * 20)
    found = judge_classes(np.array(list("aaaa") * 20), truth, truth)
    assert (found.before.mean, found.after.mean, found.gain.mean) == (0.5, 1.0, 0.5)
    assert found.extra["macro_f1"][1] == 1.0
    assert found.better


def test_nothing_held_out_is_an_error():
    with pytest.raises(ValueError, match="nothing was held out"):
        bootstrap(np.array([]))
