"""Score the cells a seller opened, and weigh what they show against what the offer claims.

Only components that a handful of records can show are measured; uniqueness, novelty and relevance are about a whole set
and stay unchecked here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from protocols.errors import ProtocolError
from protocols.exchange.sampling import Claim, Measured, Tolerances, Verdict, judge_sample
from protocols.offers.offer import Offer
from protocols.quality import PPM, WEIGHTS, Quality, mean_quality
from protocols.sealed import Part, Payload, Record, open_cell, unpack_cell

MEASURABLE = ("validity", "density", "language", "privacy")
UNCHECKED = tuple(name for name in WEIGHTS if name not in MEASURABLE)


class Scorer(Protocol):
    """The refiner's pure scoring of a text by itself."""

    def __call__(self, record: Record) -> Quality: ...


def measure(payload: Payload, keys: Sequence[tuple[int, bytes]], score: Scorer) -> Measured:
    """What the opened cells hold. Raises WrongKey when a key is not the committed one; CPU-bound."""
    records: list[Record] = []
    milli = unreadable = 0
    for index, key in keys:
        try:
            found = unpack_cell(open_cell(payload, index, key))
        except ProtocolError as err:
            if err.kind == "wrong_key":
                raise
            unreadable += 1
            continue
        whole = [found.record] if isinstance(found, Part) else found
        milli += 1_000 // found.parts if isinstance(found, Part) else 1_000 * len(found)
        records += whole
    mean = mean_quality([score(record) for record in records])
    shares = Counter(record.language or "un" for record in records)
    return Measured(
        quality={name: getattr(mean, name) for name in MEASURABLE},
        languages={language: n * PPM // len(records) for language, n in shares.items()},
        records_milli=milli,
        opened=len(keys),
        unreadable=unreadable,
    )


def judge(offer: Offer, measured: Measured) -> Verdict:
    """Whether the sample bears the offer's claim out, and if not, why."""
    claim = Claim(
        quality={name: getattr(offer.quality, name) for name in MEASURABLE},
        languages=offer.languages,
        records=offer.records,
        cells=offer.cells,
    )
    return judge_sample(claim, measured, Tolerances(unchecked=UNCHECKED))
