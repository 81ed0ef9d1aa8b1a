"""Amounts as people write them: `1.5tok` (18 decimals), `20gwei`, or plain digits for base units. Never floats."""

from __future__ import annotations

import re

UNITS = {"": 0, "wei": 0, "gwei": 9, "tok": 18}
MAX_WEI = (1 << 96) - 1  # the contracts keep amounts in uint96

_AMOUNT = re.compile(r"(\d{1,30})(?:\.(\d{1,18}))?\s*([a-z]*)", re.IGNORECASE)


class Wei(int):
    """An amount in base units; a type of its own so that files may write `"1.5tok"`."""


def parse_amount(text: str) -> Wei:
    """Base units of `1.5tok`, `3 gwei` or `1500`. Raises ValueError with what to write."""
    match = _AMOUNT.fullmatch(text.strip().replace("_", ""))
    unit = match[3].lower() if match else ""
    if match is None or unit not in UNITS:
        raise ValueError(f"{text!r} is not an amount: write 1.5tok, 20gwei, or digits of base units")
    fraction = match[2] or ""
    if len(fraction) > UNITS[unit]:
        raise ValueError(f"{text!r} is finer than one base unit")
    amount = int(match[1] + fraction) * 10 ** (UNITS[unit] - len(fraction))
    if amount > MAX_WEI:
        raise ValueError(f"{text!r} is over the contracts' limit of 2^96 - 1 base units")
    return Wei(amount)


def tokens(amount_wei: int, places: int = 6) -> str:
    """Base units for people: tokens with at most `places` decimals, rounded towards zero."""
    sign = "-" if amount_wei < 0 else ""
    whole, rest = divmod(abs(amount_wei), 10**18)
    fraction = f"{rest:018d}"[:places].rstrip("0")
    if not whole and not fraction and rest:
        return f"{sign}<0.{'0' * (places - 1)}1"
    return sign + f"{whole}" + (f".{fraction}" if fraction else "")
