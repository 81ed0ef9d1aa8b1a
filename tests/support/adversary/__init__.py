"""Adversaries: what somebody who rewrites his own node can do to others, as changes to the node of this process.

    python -m tests.support.adversary stops-paying:3 -- run --datadir …

is `schwung run` by such a person; a cluster starts one with `cheat="stops-paying:3"`. A behaviour may take an argument
after a colon. Only what the cheat needs is changed, and only on the cheat's side: the rest of the adversary's node is
the product and carries the cheat to its victims, whose node is the product altogether.

    hostile      keys and cells that are not what was committed to (tests/support/hostile.py)
    selling      offers that are not what they say
    buying       keys that are taken and not paid for
    paying       vouchers that should not be taken
    serving      payments that are taken and not answered
    searching    previews that are paid for and not shown
    rating       opinions about what was never bought
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support import hostile
from tests.support.adversary import buying, paying, rating, searching, selling, serving

__all__ = ["BEHAVIOURS", "become"]

Replace = Callable[[object, str, Any], None]

BEHAVIOURS: dict[str, Callable[[Replace, str], None]] = {
    **{cheat: lambda replace, _, cheat=cheat: hostile.become(cheat, replace) for cheat in hostile.CHEATS},  # type: ignore[misc]
    **selling.BEHAVIOURS,
    **buying.BEHAVIOURS,
    **paying.BEHAVIOURS,
    **serving.BEHAVIOURS,
    **searching.BEHAVIOURS,
    **rating.BEHAVIOURS,
}


def become(behaviour: str, replace: Replace = setattr) -> None:
    """Make the node of this process behave so; several behaviours are joined by `+`. Raises ValueError."""
    for one in behaviour.split("+"):
        name, _, argument = one.partition(":")
        if name not in BEHAVIOURS:
            raise ValueError(f"no behaviour {name!r}: there are {', '.join(BEHAVIOURS)}")
        BEHAVIOURS[name](replace, argument)
