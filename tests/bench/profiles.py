"""What a profile tells, and what its floor and its noise cost: `python -m tests.bench.profiles [--documents 4000]`.

Documents and wants are those of tests/bench/finding/data.py, embedded by the real embedder. Producers hold whole topics
each; consumers want things of a few topics, half of which stand in the profile and half come later. Beside every
profile stand the bare wants themselves (no floor, no noise) and chance.

    found     of the ten best records for a want that comes later, how many lie in the fifth of the shards that the
              profile points to
    counted   the rank correlation of "you could sell n records to this" with how many of those ten a producer holds
    told      a want that stands in the profile against one of the same topic that does not: how often the nearer one to
              the profile is the right one; 0.5 is chance
    guessed   the want nearest to a centroid, of all there are, is one of those behind it
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Sequence

import numpy as np

from node.market.noise import added
from node.market.profiles import making
from node.market.profiles.making import Wanted, summarise
from node.market.profiles.map import focus_of, mean_of
from node.market.search.regions import partition
from node.market.supply import Measured, measure
from protocols.codec import encode
from protocols.profile.messages import Want
from tests.bench.finding.data import apart, load

CONSUMERS = 20
PRODUCERS = 20
TOPICS, LIKED = 25, 4
WANTS = 80  # of a consumer; half of them told
BEST = 10
POINTED = 100  # of the records nearest to a centroid: where they lie is where it points to
SEED = 3


class Field:
    """Who wants what, who has what."""

    def __init__(self, documents: int, queries: int) -> None:
        corpus = load(documents, queries)
        self.records, self.wants = corpus.vectors, corpus.queries
        self.holder = apart(corpus, PRODUCERS)
        self.topic = np.zeros(queries, int)
        for number, rows in enumerate(partition(self.wants, TOPICS, WANTS // 2)):
            self.topic[rows] = number
        self.scales: list[Measured] = [measure(self.records[self.holder == n]) for n in range(PRODUCERS)]
        dice = np.random.default_rng(SEED)
        self.consumers = [self._consumer(dice) for _ in range(CONSUMERS)]

    def _consumer(self, dice: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The wants told, and those that come later."""
        liked = dice.choice(TOPICS, LIKED, replace=False)
        pool = np.flatnonzero(np.isin(self.topic, liked))
        chosen = dice.permutation(pool)[: min(WANTS, len(pool) // 2)]
        return chosen[::2], chosen[1::2]

    def held(self, later: np.ndarray) -> np.ndarray:
        """Of the best records for some wants, the share at each producer."""
        best = np.argsort(-(self.wants[later] @ self.records.T), axis=1)[:, :BEST]
        return np.bincount(self.holder[best].ravel(), minlength=PRODUCERS) / best.size

    def found(self, means: Sequence[np.ndarray], weights: Sequence[float], later: np.ndarray) -> float:
        votes = np.zeros(PRODUCERS)
        for mean, weight in zip(means, weights, strict=True):
            nearest = np.argpartition(-(self.records @ mean), POINTED)[:POINTED]
            votes += weight * np.bincount(self.holder[nearest], minlength=PRODUCERS)
        return float(self.held(later)[np.argsort(-votes)[: PRODUCERS // 5]].sum())

    def counted(self, wants: Sequence[Want], epsilon: int, later: np.ndarray) -> float:
        counts = np.zeros(PRODUCERS)
        for producer in range(PRODUCERS):
            own = self.records[self.holder == producer]
            means = [mean_of(want) for want in wants]
            measured = self.scales[producer].against(means)
            for want, mean in zip(wants, means, strict=True):
                focus = focus_of(mean, added(len(mean), float(epsilon * want.wants)))
                counts[producer] += want.wants * (own @ mean >= measured.bar(focus)).sum()
        return float(np.corrcoef(_ranks(counts), _ranks(self.held(later)))[0, 1]) if counts.any() else 0.0

    def told(self, means: Sequence[np.ndarray], inside: np.ndarray, outside: np.ndarray) -> float:
        """The better of two guessers: by the means as they came, and by their directions alone."""
        table = np.stack(means)
        directions = table / np.linalg.norm(table, axis=1, keepdims=True)
        return max(self._told(one, inside, outside) for one in (table, directions))

    def _told(self, table: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> float:
        near = (self.wants @ table.T).max(axis=1)
        right = [
            (near[one] > near[other]) + (near[one] == near[other]) / 2
            for one in inside
            for other in outside
            if self.topic[one] == self.topic[other]
        ]
        return float(np.mean(right))


def _ranks(values: np.ndarray) -> np.ndarray:
    """With ties at their mean."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count + 1) / 2)[place]


def row(field: Field, name: str, epsilon: int) -> str:
    """One way of telling, over all consumers."""
    dice = random.Random(SEED)
    results, guessed, sizes, centroids = [], [], [], []
    for inside, later in field.consumers:
        wants = summarise([Wanted(vector) for vector in field.wants[inside]], epsilon, dice)
        means = [mean_of(want) for want in wants]
        guessed += [int(np.argmax(field.wants @ mean)) in set(inside.tolist()) for mean in means]
        sizes.append(len(encode(wants)))
        centroids.append(len(wants))
        results.append(
            (
                field.found(means, [want.wants for want in wants], later),
                field.counted(wants, epsilon, later),
                field.told(means, inside, later),
            )
        )
    found, counted, told = np.mean(results, axis=0)
    return (
        f"{name:24}{np.mean(centroids):7.1f}{np.mean(sizes) / 1000:8.1f}{found:9.3f}{counted:9.3f}{told:8.3f}"
        f"{np.mean(guessed):9.3f}"
    )


def bare(field: Field) -> str:
    """The wants as they are: what no profile can surpass, and the worst it could leak."""
    rows = [
        (
            field.found(list(field.wants[inside]), [1.0] * len(inside), later),
            field.told(list(field.wants[inside]), inside, later),
        )
        for inside, later in field.consumers
    ]
    found, told = np.mean(rows, axis=0)
    return f"{'the bare wants':24}{'':15}{found:9.3f}{'':9}{told:8.3f}{1:9.3f}"


def chance(field: Field) -> str:
    """Any fifth of the shards; any want of the same consumer's topics."""
    share = np.mean([len(inside) / len(field.wants) for inside, _ in field.consumers])
    return f"{'chance':24}{'':15}{0.2:9.3f}{0:9.3f}{0.5:8.3f}{share:9.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Match quality and leaks of profiles by floor and noise.")
    parser.add_argument("--documents", type=int, default=4_000)
    parser.add_argument("--wants", type=int, default=1_500)
    args = parser.parse_args()
    field = Field(args.documents, args.wants)
    print(f"{CONSUMERS} consumers, {PRODUCERS} producers, {args.documents} records, load {os.getloadavg()[0]:.1f}")
    print(f"{'':24}{'centr.':>7}{'kB':>8}{'found':>9}{'counted':>9}{'told':>8}{'guessed':>9}")
    print(bare(field))
    usual, most = making.FLOOR, making.MOST
    for floor in (1, 2, 3, usual, 10, 20):
        making.FLOOR = floor
        making.MOST = most if floor > 2 else WANTS
        print(row(field, f"floor {floor}" + (" (in use)" if floor == usual else ""), 0))
    making.FLOOR, making.MOST = usual, most
    for epsilon in (2_000, 1_000, 500, 300, 200, 100, 50, 25):
        print(row(field, f"floor {usual}, epsilon {epsilon}", epsilon))
    print(chance(field))


if __name__ == "__main__":
    main()
