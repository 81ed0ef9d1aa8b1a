"""Finding without an index: `python -m tests.bench.search [--documents 8000] [--nodes 20] [--no-network]`.

Recall is of the ten best hits of one central exact index, which is 1.0 by definition; asking all peers is as good.
"knowing" asks the peers that really hold most of them: no way of choosing can do better with as many peers. What the
shards hold and how they are skewed: tests/bench/finding/data.py. The queries are not those that constants were chosen
with. The last table runs real hosts and shards on loopback, all in this one process, so a query's time is that of all
nodes it asks together.
"""

from __future__ import annotations

import argparse
import logging
import os
import random

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices are small here: more threads only wait for each other

import numpy as np
import structlog
import trio

from node.market.noise import perturb
from tests.bench.finding.choosing import WANTED, Shards, sizes, table
from tests.bench.finding.data import ALPHAS, SEED, Corpus, apart, load, spread
from tests.bench.finding.living import on_loopback


def noise(corpus: Corpus) -> None:
    """What noise on a published want costs in matching, and what it leaves to somebody who guesses its text."""
    vectors, queries = corpus.vectors, corpus.queries
    best = np.argsort(-(queries @ vectors.T), axis=1)[:, :WANTED]
    dice = random.Random(SEED)
    print(
        f"\nnoise on a want: of its {WANTED} nearest records still among them; the want told from {len(queries)} others"
    )
    for epsilon in (0, 4_000, 2_000, 1_000, 500, 250):
        sent = np.stack([perturb(query, epsilon, dice) for query in queries])
        found = np.argsort(-(sent @ vectors.T), axis=1)[:, :WANTED]
        kept = np.mean([len(set(a) & set(b)) / WANTED for a, b in zip(best, found, strict=True)])
        guessed = np.mean(np.argmax(sent @ queries.T, axis=1) == np.arange(len(queries)))
        print(f"  epsilon {epsilon or 'none':>5}   {kept:.3f}   {guessed:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Recall against peers asked.")
    parser.add_argument("--documents", type=int, default=8_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--no-network", action="store_true")
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    corpus = load(args.documents, args.queries)
    holders = {"apart": apart(corpus, args.nodes)}
    holders |= {f"α = {alpha}": spread(corpus, args.nodes, alpha) for alpha in ALPHAS}
    for name, holder in holders.items():
        held = sorted(np.bincount(holder, minlength=args.nodes))
        print(f"\n{name}: {len(corpus.texts)} documents on {args.nodes} nodes, from {held[0]} to {held[-1]} each")
        table(Shards(corpus, holder, args.nodes))
    sizes(Shards(corpus, holders["apart"], args.nodes))
    noise(corpus)
    if not args.no_network:
        trio.run(on_loopback, corpus, holders["apart"], args.nodes)


if __name__ == "__main__":
    main()
