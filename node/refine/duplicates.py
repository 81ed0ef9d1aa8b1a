"""Near duplicates by MinHash: 128 permutations over word trigrams, found through 32 bands of 4 (Broder 1997).

The index lives in memory and is built from the shard's texts when it is first needed: 100,000 records take a second, so
nothing on the disk could be out of step with the shard.
"""

from __future__ import annotations

import rensa

from node.refine.script import shingles

PERMUTATIONS = 128  # the estimate's standard error is .03 to .04 around the threshold
BANDS = 32  # a pair of similarity .7 is found with a probability above .999
SEED = 42
FOUND = 0.7  # the bands find nearly every pair from here on


class DuplicateIndex:
    """Signatures of the records in the shard. Not thread-safe: one task at a time."""

    def __init__(self) -> None:
        self._bands = rensa.RMinHashLSH(threshold=FOUND, num_perm=PERMUTATIONS, num_bands=BANDS)
        self._signatures: list[rensa.RMinHash] = []
        self._ids: list[str] = []
        self._known: set[str] = set()

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, id: str) -> bool:
        return id in self._known

    def nearest(self, text: str) -> tuple[str, float]:
        """The most similar record's id and the estimated Jaccard similarity; ('', 0.0) when none comes near."""
        signature = _signature(text)
        best, similarity = "", 0.0
        for place in self._bands.query(signature):
            found = float(signature.jaccard(self._signatures[place]))
            if found > similarity:
                best, similarity = self._ids[place], found
        return best, similarity

    def add(self, id: str, text: str) -> None:
        """Take a record in; a known id stays as it is, since an id fixes its text."""
        if id in self._known:
            return
        place = len(self._ids)
        signature = _signature(text)
        self._bands.insert(place, signature)
        self._signatures.append(signature)
        self._ids.append(id)
        self._known.add(id)


def _signature(text: str) -> rensa.RMinHash:
    signature = rensa.RMinHash(num_perm=PERMUTATIONS, seed=SEED)
    signature.update(sorted(shingles(text)))
    return signature
