"""What is looked for and where it lies: documents, queries that are not among them, and shards of stated skew.

Documents are Debian's package descriptions and reviews of clothing (tests/support: debdata.py, reviews.py), three of
the one for one of the other; queries are the one-line summaries of other packages and the titles of other reviews, in
the same proportion. Embedded by the real embedder, once, and kept in the cache.

How shards come about:

    apart   as many topics as nodes (spherical k-means of all documents), every topic whole on a node of its own
    α       topics by what the authors say (a package's section, a review's class), every document of a topic on a node
            drawn from a Dirichlet distribution over the nodes with parameter α: at 0.05 half of a topic lies on one
            node and nearly all of it on three, at 1 it is everywhere
"""

from __future__ import annotations

import random

import msgspec
import numpy as np
import trio

from node.embed import EmbedderOptions, open_embedder
from node.embed.install import cache_folder
from tests.support.debdata import packages
from tests.support.reviews import reviews

SEED = 3
ROUNDS = 15
ALPHAS = (0.05, 0.3, 1.0)
CHARACTERS = 600  # of a document; the embedder reads about as many


class Corpus(msgspec.Struct, frozen=True):
    """Texts, what their authors say they are about, and unit vectors; and the queries."""

    texts: list[str]
    labels: list[str]
    vectors: np.ndarray
    asked: list[str]
    queries: np.ndarray


def load(documents: int, queries: int) -> Corpus:
    """As many documents and queries, always the same ones. Raises AptUnavailable."""
    packaged, reviewed = packages()[:], reviews()[:]
    for rows in (packaged, reviewed):
        random.Random(SEED).shuffle(rows)
    clothes, wearers = documents // 4, queries // 4
    texts = ["\n".join(row.texts["en"])[:CHARACTERS] for row in packaged[: documents - clothes]]
    texts += [f"{row['title']}\n{row['text']}"[:CHARACTERS] for row in reviewed[:clothes]]
    labels = [row.section for row in packaged[: documents - clothes]] + [row["class"] for row in reviewed[:clothes]]
    asked = [row.texts["en"][0] for row in packaged[wearers - queries :]]  # from the other end
    asked += [row["title"] for row in reviewed[-wearers:]]
    return Corpus(texts, labels, *_vectors(texts, asked, f"bench-search-{documents}-{queries}-other"))


def _vectors(texts: list[str], asked: list[str], name: str) -> tuple[np.ndarray, list[str], np.ndarray]:
    kept = cache_folder() / f"{name}.npz"
    if not kept.exists():

        async def embed() -> tuple[np.ndarray, np.ndarray]:
            embedder = await open_embedder(EmbedderOptions())
            return await embedder.embed(texts), await embedder.embed(asked, query=True)

        print(f"embedding {len(texts)} documents, once", flush=True)
        documents, queries = trio.run(embed)
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, documents=documents, queries=queries)
    with np.load(kept) as whole:
        return whole["documents"], asked, whole["queries"]


def apart(corpus: Corpus, nodes: int) -> np.ndarray:
    """Which node holds which document: a topic a node."""
    vectors = corpus.vectors
    centres = vectors[np.random.default_rng(SEED).choice(len(vectors), nodes, replace=False)]
    for _ in range(ROUNDS):
        topic = np.argmax(vectors @ centres.T, axis=1)
        sums = np.stack([vectors[topic == one].sum(axis=0) for one in range(nodes)])
        centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    return np.argmax(vectors @ centres.T, axis=1)


def spread(corpus: Corpus, nodes: int, alpha: float) -> np.ndarray:
    """Which node holds which document: every topic on the nodes that a Dirichlet distribution says."""
    dice = np.random.default_rng(SEED)
    labels = np.array(corpus.labels)
    holder = np.zeros(len(labels), int)
    for label in sorted(set(corpus.labels)):
        members = np.flatnonzero(labels == label)
        holder[members] = dice.choice(nodes, len(members), p=dice.dirichlet([alpha] * nodes))
    return holder
