"""Amounts in base units of the settlement token (18 decimals): Python ints in memory, decimal strings on the wire.

MessagePack's integers end at 64 bits, amounts do not.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.errors import RuleBroken

Wei = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,28})\Z")]
MAX_WEI = (1 << 96) - 1  # the contracts keep amounts in uint96


def parse_wei(text: str) -> int:
    """A decimal string as an amount. Raises RuleBroken above 2^96 − 1."""
    amount = int(text)
    if amount > MAX_WEI:
        raise RuleBroken(f"{text} base units are over the contracts' limit of 2^96 - 1")
    return amount
