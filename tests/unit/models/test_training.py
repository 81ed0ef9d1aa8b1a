from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest

from node.models import classify, retrieval
from node.models.errors import BadArtifact, TooLittleData
from node.models.evaluate import ndcg, ranks
from node.models.examples import Corpus
from node.models.export import adapter_bytes, head_bytes
from node.models.runtime import Runtime
from node.models.split import split
from node.models.threads import limit_threads
from node.models.training import train_classifier, train_retrieval
from protocols.ids import checksum
from protocols.inference.card import WHOLE_PPM
from tests.unit.models.corpora import CLASSES, DIM, corpus

ALICE, BOB, CAROL = (checksum(bytes([n]) * 20) for n in (1, 2, 3))


def test_a_retriever_beats_the_frozen_embedder_on_what_it_never_saw():
    trained = train_retrieval(corpus(500, owners=("", BOB, CAROL)), ALICE)
    assert trained.evaluation.metric == "ndcg@10"
    assert trained.evaluation.better
    assert trained.evaluation.held_out == len(split(corpus(500).examples).held_out)
    assert {share.address for share in trained.shares} == {ALICE, BOB, CAROL}
    assert sum(share.weight_ppm for share in trained.shares) == WHOLE_PPM
    assert trained.own_only is not None


def test_training_twice_gives_the_same_bytes_and_weights():
    first, second = (train_retrieval(corpus(300, owners=("", BOB)), ALICE) for _ in range(2))
    assert hashlib.sha256(first.graph).digest() == hashlib.sha256(second.graph).digest()
    assert first.shares == second.shares


def test_the_held_out_part_never_reaches_the_trainer(monkeypatch):
    """Scramble the held-out vectors: the trained graph must not change by a byte."""
    whole = corpus(300)
    held_out = list(split(whole.examples).held_out)
    rng = np.random.default_rng(9)
    documents, queries = whole.documents.copy(), whole.queries.copy()
    documents[held_out], queries[held_out] = rng.normal(size=(2, len(held_out), DIM))
    scrambled = Corpus(examples=whole.examples, documents=documents, queries=queries)
    assert train_retrieval(whole, ALICE).graph == train_retrieval(scrambled, ALICE).graph


def test_meaningless_pairs_give_no_gain():
    whole = corpus(400)
    rng = np.random.default_rng(3)
    noise = Corpus(examples=whole.examples, documents=rng.normal(size=(400, DIM)), queries=rng.normal(size=(400, DIM)))
    assert not train_retrieval(noise, ALICE).evaluation.better


def test_a_classifier_beats_the_nearest_name():
    names = dict(zip(CLASSES, np.random.default_rng(2).normal(size=(3, DIM)), strict=True))
    trained = train_classifier(corpus(400, owners=("", BOB)), names, ALICE)
    assert trained.evaluation.metric == "accuracy"
    assert trained.evaluation.better
    assert trained.evaluation.after.mean > 0.9
    assert set(trained.classes) == set(CLASSES)


def test_too_few_records_say_so():
    with pytest.raises(TooLittleData, match="held out"):
        train_retrieval(corpus(60), ALICE)
    with pytest.raises(TooLittleData, match="pairs of title and text"):
        retrieval.train(corpus(20))
    with pytest.raises(TooLittleData, match="classes"):
        classify.train(corpus(20))


def test_rare_classes_are_not_offered():
    labels = ["a"] * 20 + ["b"] * 8 + ["c"] * 7 + [""] * 50
    assert classify.usable_classes(labels) == ("a", "b")


def test_the_slope_of_the_contrastive_loss_is_right():
    """Against finite differences: a wrong gradient still trains a little, so only this test would tell."""
    rng = np.random.default_rng(1)
    left, right, turn = rng.normal(size=(7, 5)), rng.normal(size=(7, 5)), np.eye(5) + rng.normal(size=(5, 5)) * 0.1

    shares = rng.random(7)
    shares /= shares.sum()

    def loss(matrix: np.ndarray) -> float:
        scores = retrieval.unit(left @ matrix) @ retrieval.unit(right @ matrix).T / retrieval.TEMPERATURE
        rows = np.log(np.exp(scores).sum(axis=1)) - np.diag(scores)
        columns = np.log(np.exp(scores).sum(axis=0)) - np.diag(scores)
        return float(((rows + columns) * shares).sum() / 2)

    slope = retrieval._infonce_slope(left, right, turn, shares)
    for at in [(0, 0), (2, 3), (4, 1)]:
        step = np.zeros((5, 5))
        step[at] = 1e-6
        assert slope[at] == pytest.approx((loss(turn + step) - loss(turn - step)) / 2e-6, rel=1e-4)


def test_the_adapter_in_onnx_equals_numpy():
    whole = corpus(200)
    adapter, _ = retrieval.train(whole)
    runtime = Runtime(adapter_bytes(adapter))
    assert runtime.run(whole.queries, "query") == pytest.approx(adapter.queries(whole.queries), abs=2e-5)
    assert runtime.run(whole.documents, "document") == pytest.approx(adapter.documents(whole.documents), abs=2e-5)
    assert ndcg(ranks(runtime.run(whole.queries, "query"), runtime.run(whole.documents, "document"))).mean() > 0


def test_the_head_in_onnx_equals_numpy():
    whole = corpus(200)
    head, _ = classify.train(whole)
    found = Runtime(head_bytes(head)).run(whole.documents, "query")
    assert found == pytest.approx(head.probabilities(whole.documents), abs=2e-5)
    assert found.sum(axis=1) == pytest.approx(np.ones(200), abs=1e-5)


def test_a_zero_vector_does_not_become_nan():
    adapter, _ = retrieval.train(corpus(100))
    zero = adapter.query_mean.astype(np.float32)[None]
    assert np.isfinite(Runtime(adapter_bytes(adapter)).run(zero, "query")).all()


def test_a_swapped_or_broken_graph_is_refused():
    graph = adapter_bytes(retrieval.train(corpus(100))[0])
    with pytest.raises(BadArtifact, match="not the one"):
        Runtime(graph, expected_sha256=b"\0" * 32)
    with pytest.raises(BadArtifact, match="cannot be loaded"):
        Runtime(graph[:100])


def test_the_linear_algebra_obeys_its_limit():
    if not limit_threads(1):
        pytest.skip("this numpy does not carry OpenBLAS")
    left = np.random.default_rng(0).normal(size=(600, 600))
    before, started = time.process_time(), time.perf_counter()
    for _ in range(10):
        left @ left
    cpu, wall = time.process_time() - before, time.perf_counter() - started
    assert cpu < 1.5 * wall + 0.05
