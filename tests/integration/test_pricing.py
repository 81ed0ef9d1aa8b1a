"""The Python mirror of the price oracle agrees with the contract to the last digit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from contracts import pricing
from contracts.anvil import find_anvil, start_anvil
from contracts.params import TOKEN, DeployParams, text32
from tests.support.suite import Suite

pytestmark = [
    pytest.mark.chain,
    pytest.mark.skipif(find_anvil() is None, reason="no anvil: npm ci in contracts/"),
]
CLAMP_PPM = 250_000


@pytest.fixture
def suite() -> Iterator[Suite]:
    with start_anvil() as anvil:
        yield Suite(anvil, DeployParams(clamp_ppm=CLAMP_PPM))


def register(suite: Suite, records: int, quality_ppm: int, domain: str, licence: str) -> int:
    args: tuple[Any, ...] = (b"r" * 32, 1, records, text32(domain), text32(licence), bytes(32), quality_ppm, [], b"")
    return int(suite.send(suite.admin, "registry", "register", *args)[0][1]["id"])


def test_quotes_agree(suite: Suite) -> None:
    dice = random.Random(7)
    for _ in range(12):
        base, licence_ppm = dice.randint(1, TOKEN), dice.randint(10_000, 5_000_000)
        records, quality = dice.choice([1, dice.randint(2, 10**6), 2**32 - 1]), dice.randint(0, 10**6)
        suite.send(suite.admin, "oracle", "setBase", text32("d"), base)
        suite.send(suite.admin, "oracle", "setLicenceFactor", text32("l"), licence_ppm * 10**12)
        dataset = register(suite, records, quality, "d", "l")
        registered_at = suite.view("registry", "dataset", dataset)[9]
        suite.pass_time(dice.randint(0, 40 * pricing.DAY_S))
        expected = pricing.quote(
            base_wei=base,
            records=records,
            quality_ppm=quality,
            age_s=suite.now() - registered_at,
            licence_factor=licence_ppm * 10**12,
        )
        assert suite.view("oracle", "quote", dataset) == expected


def test_demand_moves_alike_over_many_epochs(suite: Suite) -> None:
    dice = random.Random(11)
    dataset = register(suite, 300, 700_000, "d", "l")
    reporter = suite.addresses["rewards"]
    suite.anvil.call("anvil_impersonateAccount", reporter)
    suite.anvil.call("anvil_setBalance", reporter, hex(10**20))
    genesis = suite.view("oracle", "genesis")
    ours = pricing.Demand()
    for _ in range(60):
        if dice.random() < 0.4:
            suite.pass_time(dice.choice([3_600, pricing.DAY_S, 5 * pricing.DAY_S, 50 * pricing.DAY_S]))
        rating, paid = dice.randint(1, 5), dice.choice([0, dice.randint(1, 10**18), 10**24])
        fair = suite.view("oracle", "quote", dataset)
        suite.send(reporter, "oracle", "report", dataset, rating, paid)
        epoch = (suite.now() - genesis) // pricing.DAY_S
        ours = pricing.moved(ours, epoch, rating=rating, paid_wei=paid, quote_wei=fair, clamp_ppm=CLAMP_PPM)
        assert suite.view("oracle", "demands", dataset) == (ours.epoch, ours.factor, ours.start)
    suite.pass_time(3 * pricing.DAY_S)
    epoch = (suite.now() - genesis) // pricing.DAY_S
    assert suite.view("oracle", "demandFactor", dataset) == pricing.rolled(ours, epoch).factor


def test_a_rating_off_the_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to 5"):
        pricing.moved(pricing.Demand(), 0, rating=6, paid_wei=1, quote_wei=1, clamp_ppm=CLAMP_PPM)
