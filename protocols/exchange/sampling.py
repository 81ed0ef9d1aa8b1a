"""Sampled openings: which cells a seller must open before anybody pays, and what the opened ones say about the rest.

The cells follow from the hash of a block mined *after* the on-chain offer and from the root that the offer fixed, so
the seller could not know them when he committed. A payload with a fraction f of junk passes n openings with (1-f)^n.
A block producer could discard blocks whose sample hurts him; that costs him a block reward a try.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import log, sqrt

import msgspec

from protocols.errors import Malformed, RuleBroken
from protocols.exchange.messages import MAX_OPENINGS, Opening
from protocols.sealed import Part, Payload, Record, open_cell, unpack_cell

BLOCKS_LATER = 2  # the next block's producer may be the one who mines the offer; its successor's hash is not his alone
SHARE = 16  # one cell of 16 is opened: what a seller gives away for nothing
DEFAULT_CAP = 64  # (1-0.1)^64 = 0.12 %: a tenth of junk is all but sure to be seen
PPM = 1_000_000
FALSE_ALARM = 0.01  # an honest offer that one component of a sample refuses
_DOMAIN = b"schwung/sample/1"


class Claim(msgspec.Struct, frozen=True):
    """What an offer says of its records: quality components and language shares in ppm, records and cells in all."""

    quality: dict[str, int]
    languages: dict[str, int]
    records: int
    cells: int


class Measured(msgspec.Struct, frozen=True):
    """What the opened cells were found to hold. `unreadable` are opened cells without a record in them.

    A piece of a long record counts as `1 / parts` of one: `records_milli` is the sum over the cells, times 1000.
    """

    quality: dict[str, int]
    languages: dict[str, int]
    records_milli: int
    opened: int
    unreadable: int = 0


class Sample(msgspec.Struct, frozen=True):
    """What the opened cells hold. A piece of a long record stands in `records` with its slice of the text."""

    records: list[Record]
    records_milli: int
    opened: int
    unreadable: int


class Tolerances(msgspec.Struct, frozen=True):
    """How far a sample may fall below the claim, in ppm; a small sample is given more room (`scatter`)."""

    quality: int = 150_000  # what two versions of a measure may differ by, and the clusters that sellers pack
    languages: int = 250_000  # the share of one language; a cell's records are often of one source
    records: int = 500_000  # records a cell: long and short ones differ by more than two
    unreadable: int = 0  # an honest seller has no unreadable cell
    unchecked: tuple[str, ...] = ()  # components this node cannot measure on a sample, such as novelty


class Verdict(msgspec.Struct, frozen=True):
    """Whether the sample bears the claim out; `reasons` are sentences for a person, one for each failure."""

    ok: bool
    reasons: tuple[str, ...] = ()


def sample_block(offer_block: int) -> int:
    """The block whose hash chooses the cells of an offer mined in `offer_block`."""
    return offer_block + BLOCKS_LATER


def sample_count(cells: int, cap: int = DEFAULT_CAP) -> int:
    """How many cells are opened: one of sixteen, at least one, at most `cap` and what a reply carries."""
    if cells < 1 or cap < 1:
        raise ValueError(f"a sample of {cells} cells with a cap of {cap}")
    return max(1, min(cells // SHARE, cap, MAX_OPENINGS))


def sample_indices(block_hash: bytes, root: bytes, cells: int, count: int) -> list[int]:
    """`count` distinct cells of `cells`, ascending; every subset is equally likely over the block hash.

    Floyd's sampling over a SHA-256 counter stream; draws above the largest multiple of the range are thrown away,
    which keeps them unbiased.
    """
    if not 0 < count <= cells:
        raise ValueError(f"{count} of {cells} cells cannot be sampled")
    seed = sha256(_DOMAIN + block_hash + root + cells.to_bytes(4, "big") + count.to_bytes(4, "big")).digest()
    chosen: set[int] = set()
    counter = 0
    for last in range(cells - count, cells):
        drawn, counter = _below(seed, counter, last + 1)
        chosen.add(last if drawn in chosen else drawn)
    return sorted(chosen)


def open_sample(payload: Payload, indices: Sequence[int], openings: Sequence[Opening]) -> Sample:
    """Decode the cells that a seller opened. Raises RuleBroken when they are not the chosen ones, WrongKey for a key
    or a cell that is not the committed one; a committed cell without records only counts as unreadable.
    """
    if [opening.cell for opening in openings] != list(indices):
        raise RuleBroken("the seller opened other cells than the ones chosen")
    sample, unreadable, milli = [], 0, 0
    for opening in openings:
        try:
            found = unpack_cell(open_cell(payload, opening.cell, opening.key))
        except Malformed:
            unreadable += 1
            continue
        rows = [found.record] if isinstance(found, Part) else found
        milli += 1_000 // found.parts if isinstance(found, Part) else 1_000 * len(rows)
        sample.extend(rows)
    return Sample(sample, milli, len(openings), unreadable)


def pass_probability(junk_ppm: int, count: int) -> float:
    """The chance that `count` openings show nothing when `junk_ppm` of the cells are junk: (1-f)^n."""
    return float((1 - junk_ppm / PPM) ** count)


def scatter(records: int) -> int:
    """How far the mean of `records` honest ones may fall below that of all, in ppm, but for one time in a hundred.

    Hoeffding's bound for values in 0…1 (J. Am. Stat. Assoc. 58, 1963): P(mean ≤ μ − t) ≤ exp(−2·n·t²).
    """
    return round(PPM * min(1.0, sqrt(-log(FALSE_ALARM) / (2 * max(1, records)))))


def judge_sample(claim: Claim, measured: Measured, tolerances: Tolerances) -> Verdict:
    """Compare what was opened with what was claimed. Only what is *worse* than claimed counts against an offer."""
    if measured.opened < 1:
        return Verdict(False, ("no cell was opened",))
    room = scatter(measured.records_milli // 1_000)
    reasons = [
        *_judge_cells(claim, measured, tolerances),
        *_judge_quality(claim, measured, tolerances, max(tolerances.quality, room)),
        *_judge_languages(claim.languages, measured.languages, max(tolerances.languages, room)),
    ]
    return Verdict(not reasons, tuple(reasons))


def _judge_cells(claim: Claim, measured: Measured, tolerances: Tolerances) -> list[str]:
    reasons = []
    if measured.unreadable * PPM > tolerances.unreadable * measured.opened:
        reasons.append(f"{measured.unreadable} of {measured.opened} opened cells hold no records")
    promised = claim.records * 1_000 * measured.opened // claim.cells
    if measured.records_milli * PPM < promised * (PPM - tolerances.records):
        got, due = measured.records_milli / 1_000, promised / 1_000
        reasons.append(f"{got:.1f} records in {measured.opened} cells where the offer's count gives {due:.1f}")
    return reasons


def _judge_quality(claim: Claim, measured: Measured, tolerances: Tolerances, room: int) -> list[str]:
    reasons = []
    for name, claimed in sorted(claim.quality.items()):
        if name in tolerances.unchecked:
            continue
        found = measured.quality.get(name)
        if found is None:
            reasons.append(f"{name} was claimed and could not be measured")
        elif found + room < claimed:
            reasons.append(f"{name} is {found / PPM:.2f} in the sample, {claimed / PPM:.2f} was claimed")
    return reasons


def _judge_languages(claimed: Mapping[str, int], found: Mapping[str, int], tolerance: int) -> list[str]:
    return [
        f"{found.get(language, 0) / PPM:.0%} of the sample is {language}, {share / PPM:.0%} was claimed"
        for language, share in sorted(claimed.items())
        if found.get(language, 0) + tolerance < share
    ]


def _below(seed: bytes, counter: int, bound: int) -> tuple[int, int]:
    """A uniform number below `bound`, and the next counter."""
    limit = (1 << 64) - (1 << 64) % bound
    while True:
        drawn = int.from_bytes(sha256(seed + counter.to_bytes(8, "big")).digest()[:8], "big")
        counter += 1
        if drawn < limit:
            return drawn % bound, counter
