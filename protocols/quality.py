"""The quality vector: seven components in parts per million, and how they become one number.

Components and their formulas are the refiner's (node/refine); the wire only fixes names, range and aggregation, so that
a claim and a measurement can be compared component by component.
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
from msgspec import Meta

PPM = 1_000_000
Ppm = Annotated[int, Meta(ge=0, le=PPM)]

# Weights of the geometric mean, in ppm. Validity and uniqueness decide whether a record is worth anything at all and
# weigh double; privacy is a gate in the refiner and weighs little here.
WEIGHTS = {
    "validity": 200_000,
    "uniqueness": 200_000,
    "novelty": 150_000,
    "density": 150_000,
    "language": 150_000,
    "privacy": 50_000,
    "relevance": 100_000,
}
FLOOR = 1e-3  # one zero component must not make the whole score zero: a geometric mean would


class Quality(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seven components in ppm, higher is better."""

    validity: Ppm = 0
    uniqueness: Ppm = 0
    novelty: Ppm = 0
    density: Ppm = 0
    language: Ppm = 0
    privacy: Ppm = 0
    relevance: Ppm = 0

    @property
    def overall(self) -> int:
        """Weighted geometric mean of the components, in ppm."""
        logs = sum(w * math.log(max(getattr(self, name) / PPM, FLOOR)) for name, w in WEIGHTS.items())
        return round(PPM * math.exp(logs / PPM))


def mean_quality(parts: list[Quality]) -> Quality:
    """Component-wise arithmetic mean; all zero for an empty list."""
    if not parts:
        return Quality()
    return Quality(**{name: sum(getattr(p, name) for p in parts) // len(parts) for name in WEIGHTS})
