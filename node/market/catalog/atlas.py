"""Where every offer lies in meaning, and what it can be filtered by: one row an offer, compared all at once.

A catalogue of 100,000 offers has more than a million centroids, too many to hold and to compare with each query. The
mean of an offer's records (its centroids by weight and focus) orders them well enough to choose candidates, which the
catalogue then ranks by their nearest centroid. A row is a mean of float32, 1.5 kB of 384 dimensions, and 60 bytes of
columns; `python -m tests.bench.catalog` prints what the choice misses.

Rows lie in blocks that never move and are taken again when they are free, so a query may run in a thread while offers
come and go: what it reads of a row that changes under it is one odd score, and who asks checks what he shows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node.market.catalog.names import Names
from node.market.catalog.wanted import Wanted
from node.market.search.sketch import Vectors
from protocols.offers.offer import Centroid, Offer
from protocols.quality import PPM

ROWS = 4_096  # of a block
SPARSE = 4  # a quarter of a block or less is gathered before it is multiplied
_HALF = 48  # bits of the lower part of a price: uint96 as two columns
_ROW = np.dtype(
    [
        ("alive", "?"), ("ranked", "?"), ("domain", "i4"), ("licence", "i4"), ("model", "i4"), ("signer", "i4"),
        ("quality", "i4"), ("price_high", "i8"), ("price_low", "i8"), ("made_at", "i8"), ("expires_at", "i8"),
        ("head", "u8"),
    ],
    align=True,
)  # fmt: skip
Mask = NDArray[np.bool_]


def mean_of(sketch: list[Centroid]) -> Vectors:
    """The mean of the records' unit vectors, as far as the sketch says."""
    rows = np.frombuffer(b"".join(c.vector for c in sketch), np.int8).reshape(len(sketch), -1).astype(np.float32)
    lengths = np.maximum(np.sqrt(np.einsum("ij,ij->i", rows, rows)), 1e-9)
    weights = np.array([c.weight / PPM * c.focus / PPM for c in sketch], np.float32)
    return np.asarray((weights / lengths) @ rows, np.float32)


class _Block:
    """ROWS rows."""

    def __init__(self, dim: int) -> None:
        self.means: Vectors = np.zeros((ROWS, dim), np.float32)
        self.rows = np.zeros(ROWS, _ROW)
        self.ids: list[str] = [""] * ROWS


class _Terms:
    """What is wanted, in the atlas's own numbers."""

    def __init__(self, wanted: Wanted, names: Names, now: int) -> None:
        named = ("domain", "licence", "signer")
        self.equal = {column: names.find(name) for column in named if (name := getattr(wanted, column)) is not None}
        if wanted.model_id is not None:
            self.equal["model"] = names.find(wanted.model_id)
        self.stranger = names.find(wanted.stranger) if wanted.stranger is not None else None
        self.price = None if wanted.max_price_wei is None else split_price(wanted.max_price_wei)
        self.quality = wanted.min_quality_ppm
        self.now = now

    def fits(self, rows: NDArray[np.void]) -> Mask:
        mask: Mask = rows["alive"] & (rows["expires_at"] > self.now)
        for column, code in self.equal.items():
            mask &= rows[column] == code
        if self.stranger is not None:
            mask &= rows["signer"] != self.stranger
        if self.quality is not None:
            mask &= rows["quality"] >= self.quality
        if self.price is not None:
            high, low = self.price
            mask &= (rows["price_high"] < high) | ((rows["price_high"] == high) & (rows["price_low"] <= low))
        return mask


class Atlas:
    """All offers by row; those of the space (`model_id`, `dim`) with their mean vector."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._blocks: list[_Block] = []
        self._names = Names()
        self._free: list[int] = []
        self._used = 0

    def __len__(self) -> int:
        return self._used - len(self._free)

    def add(self, id: str, signer: str, offer: Offer, mean: Vectors | None) -> int:
        """Place an offer, in meaning too when it has a mean; the row."""
        if self._free:
            row = self._free.pop()
        else:
            row, self._used = self._used, self._used + 1
            if row == len(self._blocks) * ROWS:
                self._blocks.append(_Block(self.dim))
        block, place = self._blocks[row // ROWS], row % ROWS
        if mean is not None:
            block.means[place] = mean
        block.ids[place] = id
        take, price = self._names.take, split_price(int(offer.price_wei))
        names = (take(offer.domain), take(offer.licence), take(offer.model_id), take(signer))
        head = int(id[:16], 16)
        block.rows[place] = (
            True, mean is not None, *names, offer.quality.overall, *price, offer.created_at, offer.expires_at, head
        )  # fmt: skip
        return row

    def remove(self, row: int) -> None:
        """Free a row."""
        block, place = self._blocks[row // ROWS], row % ROWS
        block.rows[place]["alive"] = False
        block.ids[place] = ""
        for column in ("domain", "licence", "model", "signer"):
            self._names.release(int(block.rows[place][column]))
        self._free.append(row)

    def nearest(self, query: Vectors, count: int, wanted: Wanted, now: int) -> list[str]:
        """The `count` offers that are wanted whose means lie nearest to a query, best first."""
        terms = _Terms(wanted, self._names, now)
        scores: list[Vectors] = []
        found: list[NDArray[np.intp]] = []
        for number, block in enumerate(list(self._blocks)):
            places = np.flatnonzero(terms.fits(block.rows) & block.rows["ranked"])
            if not len(places):
                continue
            sparse = len(places) * SPARSE < ROWS
            scores.append(block.means[places] @ query if sparse else (block.means @ query)[places])
            found.append(places + number * ROWS)
        if not found:
            return []
        all_scores, rows = np.concatenate(scores), np.concatenate(found)
        best = np.argpartition(-all_scores, count)[:count] if count < len(rows) else np.arange(len(rows))
        best = best[np.argsort(-all_scores[best], kind="stable")]
        return self._ids(rows[best])

    def newest(self, count: int, wanted: Wanted, now: int, after: tuple[int, str] | None = None) -> list[str]:
        """The `count` newest that are wanted, ties by id; `after` is the time and the id of the last one seen."""
        terms = _Terms(wanted, self._names, now)
        made, heads, found = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)], [np.zeros(0, np.intp)]
        for number, block in enumerate(list(self._blocks)):
            mask = terms.fits(block.rows)
            if after is not None:
                times, head = block.rows["made_at"], np.uint64(int(after[1][:16], 16))
                mask &= (times < after[0]) | ((times == after[0]) & (block.rows["head"] > head))
            places = np.flatnonzero(mask)
            made.append(block.rows["made_at"][places])
            heads.append(block.rows["head"][places])
            found.append(places + number * ROWS)
        order = np.lexsort((np.concatenate(heads), -np.concatenate(made)))[:count]
        return self._ids(np.concatenate(found)[order])

    def count(self, wanted: Wanted, now: int) -> int:
        """How many are wanted."""
        terms = _Terms(wanted, self._names, now)
        return sum(int(np.count_nonzero(terms.fits(block.rows))) for block in list(self._blocks))

    def _ids(self, rows: NDArray[np.intp]) -> list[str]:
        ids = (self._blocks[row // ROWS].ids[row % ROWS] for row in rows.tolist())
        return [id for id in ids if id]


def split_price(price_wei: int) -> tuple[int, int]:
    """A price as two numbers that order like it."""
    return price_wei >> _HALF, price_wei & ((1 << _HALF) - 1)
