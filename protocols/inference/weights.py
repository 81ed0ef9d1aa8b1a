"""The weights by which a published model's revenue is split, one a dataset: the rules, the facts and the Merkle tree.

Exactly what `ModelRegistry` checks (contracts/src/Weights.sol). Datasets ascend; dataset 0, first if at all, is the
publisher's own unregistered data; weights are parts per million and sum to a million. A dataset's fact is
records x claimed quality (ppm) of the registry, at least 1 a record: of the part that is not dataset 0's, each gets at
least a quarter of its share by facts.

    leaf = keccak(keccak(abi.encode(uint256 index, uint64 dataset, uint32 weightPpm)))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from protocols import merkle
from protocols.errors import RuleBroken

OWN = 0  # the dataset that stands for the publisher's own unregistered data
WHOLE_PPM = 1_000_000
FLOOR_PPM = 250_000
MAX_OWN_PPM = 500_000
MAX_DATASETS = 256

Pair = tuple[int, int]  # dataset, weight in ppm


def leaf(index: int, dataset: int, weight_ppm: int) -> bytes:
    """The leaf of one dataset."""
    return merkle.leaf(merkle.word(index) + merkle.word(dataset) + merkle.word(weight_ppm))


class WeightsTree(merkle.MerkleTree):
    """The tree of a model's weights; a dataset's index is its position."""

    def __init__(self, weights: Sequence[Pair]) -> None:
        super().__init__([leaf(index, dataset, weight) for index, (dataset, weight) in enumerate(weights)])


def verify(root: bytes, index: int, dataset: int, weight_ppm: int, proof: Sequence[bytes]) -> bool:
    """What the contract computes."""
    return merkle.verify(root, leaf(index, dataset, weight_ppm), proof)


def fact(records: int, quality_ppm: int) -> int:
    """What a registered dataset counts for; never 0, as no dataset is registered without records."""
    return records * max(1, quality_ppm)


def check(weights: Sequence[Pair], facts: Mapping[int, int] | None = None) -> None:
    """The contract's rules; those of the floor only with the facts by dataset. Raises RuleBroken."""
    if not 0 < len(weights) <= MAX_DATASETS:
        raise RuleBroken(f"{len(weights)} datasets: a model has 1 to {MAX_DATASETS}")
    datasets = [dataset for dataset, _ in weights]
    if any(after <= before for before, after in pairwise(datasets)):
        raise RuleBroken("the datasets do not ascend")
    if min(weight for _, weight in weights) < 0 or sum(weight for _, weight in weights) != WHOLE_PPM:
        raise RuleBroken(f"the weights do not sum to {WHOLE_PPM} ppm")
    if len(weights) > 1 and _own(weights) > MAX_OWN_PPM:
        raise RuleBroken(f"own unregistered data take {_own(weights)} ppm, at most {MAX_OWN_PPM} beside others'")
    if facts is not None:
        for (dataset, weight), least in zip(weights, floors(datasets, _own(weights), facts), strict=True):
            if weight < least:
                raise RuleBroken(f"dataset {dataset} has {weight} ppm, its records ask for {least} at least")


def floors(datasets: Sequence[int], own_ppm: int, facts: Mapping[int, int]) -> list[int]:
    """The least weight of each dataset when own data take `own_ppm`."""
    total = sum(facts[dataset] for dataset in datasets if dataset != OWN)
    return [
        0 if dataset == OWN else (WHOLE_PPM - own_ppm) * FLOOR_PPM * facts[dataset] // (WHOLE_PPM * total)
        for dataset in datasets
    ]


def lift(wanted: Sequence[Pair], facts: Mapping[int, int]) -> list[Pair]:
    """Weights that keep the rules, made of `wanted`, which ascend and sum to a million: own data within their limit,
    every other dataset its floor, and what is left in proportion to what each wanted above it.
    """
    datasets = [dataset for dataset, _ in wanted]
    if datasets == [OWN]:
        return [(OWN, WHOLE_PPM)]
    own = min(_own(wanted), MAX_OWN_PPM)
    least = floors(datasets, own, facts)
    asked = [
        0 if dataset == OWN else max(0, weight - low) for (dataset, weight), low in zip(wanted, least, strict=True)
    ]
    if not any(asked):
        asked = [0 if dataset == OWN else facts[dataset] for dataset in datasets]
    parts = _shares(WHOLE_PPM - own - sum(least), asked)
    return [
        (dataset, own if dataset == OWN else low + part)
        for dataset, low, part in zip(datasets, least, parts, strict=True)
    ]


def by_facts(weights: Sequence[Pair], facts: Mapping[int, int]) -> list[Pair]:
    """What the weights become when the arbiter rules them wrong: own data keep half, the rest goes by facts."""
    if all(dataset == OWN for dataset, _ in weights):
        return [(OWN, WHOLE_PPM)]
    own = _own(weights) // 2
    counted = [0 if dataset == OWN else facts[dataset] for dataset, _ in weights]
    parts = _shares(WHOLE_PPM - own, counted)
    return [(dataset, own if dataset == OWN else part) for (dataset, _), part in zip(weights, parts, strict=True)]


def _own(weights: Sequence[Pair]) -> int:
    return weights[0][1] if weights[0][0] == OWN else 0


def _shares(whole: int, parts: Sequence[int]) -> list[int]:
    """`whole` in proportion to `parts`, rounded by running totals as the contract does, so that nothing is left."""
    total, seen, given = sum(parts), 0, 0
    shares = []
    for part in parts:
        seen += part
        upto = whole * seen // total
        shares.append(upto - given)
        given = upto
    return shares
