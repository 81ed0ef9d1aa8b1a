"""The price oracle's formula in Python, bit for bit: what a dataset would be quoted, without asking the chain.

    quote = base × records × quality × demand × freshness × licence      18-digit fixed point, each factor rounded down

Mirrors `PriceOracle.sol`; `tests/integration/test_pricing.py` compares the two on generated cases.
"""

from __future__ import annotations

import msgspec

WAD = 10**18
PPM = 10**6
DAY_S = 86_400
MIN_DEMAND = WAD // 4
MAX_DEMAND = 4 * WAD
DEMAND_STEP = WAD * 2 // 100  # a purchase at the quoted price, rated 3
RATING_STEP = WAD * 2 // 100  # each star above or below 3
DECAY = WAD * 5 // 100  # an epoch without a report
DECAY_EPOCHS = 30


class Demand(msgspec.Struct, frozen=True):
    """A dataset's moving factor; `factor` 0 stands for never reported."""

    epoch: int = 0
    factor: int = 0
    start: int = 0


def quality_factor(quality_ppm: int) -> int:
    """0.5 + quality, in WAD."""
    return WAD // 2 + quality_ppm * (WAD // PPM)


def freshness_factor(age_s: int) -> int:
    """1 on the first day, falling by the day to 0.5 after a year, in WAD."""
    day = age_s // DAY_S
    return WAD // 2 if day >= 365 else WAD - (WAD // 2) * day // 365


def quote(
    *, base_wei: int, records: int, quality_ppm: int, age_s: int, demand: int = WAD, licence_factor: int = WAD
) -> int:
    """Base units for the whole dataset. `demand` and `licence_factor` are WAD."""
    value = base_wei * records
    value = value * quality_factor(quality_ppm) // WAD
    value = value * demand // WAD
    value = value * freshness_factor(age_s) // WAD
    return value * licence_factor // WAD


def rolled(demand: Demand, epoch: int) -> Demand:
    """A stored factor brought to `epoch`: every silent epoch between moves it 5 % towards 1."""
    if demand.factor == 0:
        return Demand(epoch, WAD, WAD)
    if epoch == demand.epoch:
        return demand
    silent = epoch - demand.epoch - 1
    factor = WAD if silent >= DECAY_EPOCHS else demand.factor
    for _ in range(silent):
        if factor > WAD:
            factor = max(WAD, factor * (WAD - DECAY) // WAD)
        elif factor < WAD:
            factor = min(WAD, factor * (WAD + DECAY) // WAD)
    return Demand(epoch, factor, factor)


def moved(demand: Demand, epoch: int, *, rating: int, paid_wei: int, quote_wei: int, clamp_ppm: int) -> Demand:
    """After one paid and rated purchase, while the quote was `quote_wei`. Raises ValueError for a rating off 1..5."""
    if not 1 <= rating <= 5:
        raise ValueError(f"a rating is 1 to 5, not {rating}")
    now = rolled(demand, epoch)
    weight = WAD if paid_wei >= quote_wei else paid_wei * WAD // quote_wei
    up = WAD + weight * (DEMAND_STEP + max(0, rating - 3) * RATING_STEP) // WAD
    down = WAD - weight * (max(0, 3 - rating) * RATING_STEP) // WAD
    factor = now.factor * up // WAD * down // WAD
    low = max(now.start * (PPM - clamp_ppm) // PPM, MIN_DEMAND)
    high = min(now.start * (PPM + clamp_ppm) // PPM, MAX_DEMAND)
    return Demand(epoch, max(low, min(high, factor)), now.start)
