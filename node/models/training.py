"""From a corpus to a judged model: split, train, evaluate on the held-out part, attribute. Pure, and blocks for
seconds.

    trained = train_retrieval(corpus, builder)        # title → text
    trained = train_classifier(corpus, names, builder)

"Before" is the frozen embedder as it comes: cosine for retrieval, nearest class name for classification.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np

from node.models import attribution, classify, retrieval
from node.models.attribution import Share
from node.models.errors import TooLittleData
from node.models.evaluate import Evaluation, accuracy, judge_classes, judge_retrieval, ndcg, ranks
from node.models.examples import Corpus, Example
from node.models.export import adapter_bytes, head_bytes
from node.models.split import HELD_OUT_PPM, Split, split
from protocols.ids import Address, RecordId
from protocols.inference.card import CLASSIFY, RETRIEVAL

MIN_HELD_OUT = 30


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """A trained model. `own_only` is the metric of the same trainer on the builder's own records, None if too few:

    the difference to `evaluation.after` is what the bought data brought.
    """

    task: str
    method: str
    settings: dict[str, float]
    classes: tuple[str, ...]
    graph: bytes
    evaluation: Evaluation
    own_only: float | None
    validation: dict[str, float]
    trained_on: int
    held_out: tuple[RecordId, ...]
    excluded: int
    shares: tuple[Share, ...]
    datasets: tuple[int, ...]

    @property
    def artifact(self) -> bytes:
        """The graph's SHA-256."""
        return hashlib.sha256(self.graph).digest()


def train_retrieval(corpus: Corpus, builder: Address, held_out_ppm: int = HELD_OUT_PPM) -> Trained:
    """Raises TooLittleData. `corpus.queries` are the titles' embeddings."""
    assert corpus.queries is not None
    parts = _split(corpus, held_out_ppm)
    train, judged = corpus.take(parts.train), corpus.take(parts.held_out)
    adapter, scores = retrieval.train(train)
    adapted_train, adapted = _adapt(train, adapter), _adapt(judged, adapter)
    evaluation = judge_retrieval(_pair(judged), _pair(adapted))
    values = attribution.retrieval_values(adapted_train, adapted)
    return Trained(
        task=RETRIEVAL,
        method=adapter.method,
        settings=adapter.settings,
        classes=(),
        graph=adapter_bytes(adapter),
        evaluation=evaluation,
        own_only=_own_retrieval(train, judged),
        validation=scores,
        trained_on=len(parts.train),
        held_out=tuple(example.id for example in judged.examples),
        excluded=len(parts.excluded),
        shares=attribution.shares(train.examples, values, builder),
        datasets=datasets(train.examples),
    )


def train_classifier(
    corpus: Corpus, name_vectors: dict[str, np.ndarray], builder: Address, held_out_ppm: int = HELD_OUT_PPM
) -> Trained:
    """Raises TooLittleData. `name_vectors` are embeddings of the labels' names: what the embedder knows untrained."""
    labelled = corpus.take([row for row, example in enumerate(corpus.examples) if example.label])
    parts = _split(labelled, held_out_ppm)
    judged = labelled.take(parts.held_out)
    head, scores = classify.train(labelled.take(parts.train))
    train = labelled.take([row for row in parts.train if labelled.examples[row].label in head.classes])
    truth = np.array([example.label for example in judged.examples], dtype=object)
    evaluation = judge_classes(nearest_name(judged, head.classes, name_vectors), head.predict(judged.documents), truth)
    return Trained(
        task=CLASSIFY,
        method="logistic",
        settings=head.settings,
        classes=head.classes,
        graph=head_bytes(head),
        evaluation=evaluation,
        own_only=_own_classes(train, judged, truth),
        validation=scores,
        trained_on=len(train.examples),
        held_out=tuple(example.id for example in judged.examples),
        excluded=len(parts.excluded),
        shares=attribution.shares(train.examples, attribution.label_values(train, judged), builder),
        datasets=datasets(train.examples),
    )


def datasets(examples: Sequence[Example]) -> tuple[int, ...]:
    """The on-chain datasets that trained a model, ascending."""
    return tuple(sorted({example.dataset for example in examples} - {0}))


def _split(corpus: Corpus, held_out_ppm: int) -> Split:
    parts = split(corpus.examples, held_out_ppm=held_out_ppm)
    if len(parts.held_out) < MIN_HELD_OUT:
        raise TooLittleData(
            f"only {len(parts.held_out)} of {len(corpus.examples)} usable records are held out, "
            f"{MIN_HELD_OUT} are needed to judge a model"
        )
    return parts


def _adapt(corpus: Corpus, adapter: retrieval.Adapter) -> Corpus:
    assert corpus.queries is not None
    return Corpus(
        examples=corpus.examples,
        documents=adapter.documents(corpus.documents),
        queries=adapter.queries(corpus.queries),
        lessons=corpus.lessons,
    )


def _pair(corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    assert corpus.queries is not None
    return corpus.queries, corpus.documents


def _own(corpus: Corpus) -> Corpus:
    return corpus.take([row for row, example in enumerate(corpus.examples) if not example.owner])


def _own_retrieval(train: Corpus, judged: Corpus) -> float | None:
    try:
        adapter, _ = retrieval.train(_own(train))
    except TooLittleData:
        return None
    return float(ndcg(ranks(*_pair(_adapt(judged, adapter)))).mean())


def _own_classes(train: Corpus, judged: Corpus, truth: np.ndarray) -> float | None:
    try:
        head, _ = classify.train(_own(train))
    except TooLittleData:
        return None
    return float(accuracy(head.predict(judged.documents), truth).mean())


def nearest_name(judged: Corpus, classes: tuple[str, ...], names: dict[str, np.ndarray]) -> np.ndarray:
    """What the frozen embedder says untrained: for each text the class whose name lies nearest."""
    vectors = np.stack([names[label] for label in classes])
    found: np.ndarray = np.array(classes, dtype=object)[(judged.documents @ vectors.T).argmax(axis=1)]
    return found
