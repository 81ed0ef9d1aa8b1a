"""The table of DESIGN §5, row by row: who could cheat whom, what stops it, the most that can be lost.

A test that plays a row says so (`@story(Row.WRONG_KEY)`); a row without a story fails
tests/e2e/test_cheats.py::test_every_row_has_its_story.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

Told = TypeVar("Told", bound=Callable[..., object])


class Row(Enum):
    """The cheat, what stops it, the most that is lost."""

    WRONG_KEY = ("a seller hands over a wrong key", "key dispute on chain", "the gas; half the bond is won")
    JUNK = ("a seller commits to junk", "sampled openings, cell dispute, bond", "the fraction the samples missed")
    BOAST = ("a seller claims far more than his records hold", "sampled openings, scored", "nothing")
    OTHER_CELLS = ("a seller opens his best cells instead", "the block hash chooses", "nothing")
    VANISHED = ("a seller vanishes after the lock", "refund after the deadline", "time")
    THIN_BOND = ("a seller sells the same bond twice", "a bond covers its open sales only", "nothing")
    SILENT = ("a buyer takes the key and stays silent", "delivery on chain, then claim", "gas of two calls")
    UNPAID = ("an API user stops paying", "a voucher before each unit", "one unit")
    UNSERVED = ("a provider takes the voucher and does not serve", "the user stops", "one unit")
    FORGED = ("a voucher is forged, replayed, stale or foreign", "the till", "nothing")
    SOFT_COVER = ("a payer promises one deposit to two", "cover is read again", "what was served unsettled")
    FAKE_FEEDBACK = ("somebody rates what he never bought", "a settled sale or lane as ticket", "nothing to gain")
    WASH_TRADING = ("somebody buys from himself", "rewards below the fees burnt", "the washer's own fees")


STORIES: dict[Row, list[str]] = defaultdict(list)


def story(row: Row) -> Callable[[Told], Told]:
    """Says that a test plays this row."""

    def tell(test: Told) -> Told:
        STORIES[row].append(f"{test.__module__}.{test.__name__}")
        return test

    return tell
