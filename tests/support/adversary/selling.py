"""Sellers whose offers are not what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from node.market import draft, offers
from protocols.quality import PPM, Quality
from protocols.sealed import Record, Sealed, open_all, parse, record_id, seal
from tests.support.hostile import seal_junk

Replace = Callable[[object, str, Any], None]
Seal = Callable[[Any, bytes], tuple[Sealed, int]]

WORTHLESS = "cheap cheap cheap cheap cheap cheap cheap cheap cheap cheap cheap cheap "


def a_little_junk(replace: Replace, _: str) -> None:
    """Noise in one cell, committed to as if it were goods: only opening that very cell shows it."""
    honest: Seal = draft.seal_records

    def seal_records(records: Any, content_key: bytes) -> tuple[Sealed, int]:
        sealed, cell_bytes = honest(records, content_key)
        goods = open_all(parse(sealed.payload), content_key)
        return seal_junk(goods, content_key, cell_bytes, [sealed.cells - 1]), cell_bytes

    replace(offers, "seal_records", seal_records)


def boast(replace: Replace, _: str) -> None:
    """Claims the best quality for records that say nothing."""
    honest: Seal = draft.seal_records

    def seal_records(records: Any, content_key: bytes) -> tuple[Sealed, int]:
        sealed, cell_bytes = honest(records, content_key)
        goods = open_all(parse(sealed.payload), content_key)
        return seal([_emptied(record, n) for n, record in enumerate(goods)], content_key, cell_bytes), cell_bytes

    def describe(*told: Any, **named: Any) -> draft.Draft:
        best = Quality(**dict.fromkeys(Quality.__struct_fields__, PPM))
        return msgspec.structs.replace(draft.describe(*told, **named), quality=best)

    replace(offers, "seal_records", seal_records)
    replace(offers, "describe", describe)


def thin_bond(replace: Replace, _: str) -> None:
    """Stakes enough for one sale and sells to whoever comes."""
    honest = offers.Offers.__init__

    def __init__(self: offers.Offers, **given: Any) -> None:  # noqa: N807 - it takes the place of one
        thin = msgspec.structs.replace(given["policy"], open_sales=1)
        honest(self, **{**given, "policy": thin})

    replace(offers.Offers, "__init__", __init__)


def _emptied(record: Record, number: int) -> Record:
    text = f"{WORTHLESS * 3}{number}"
    return msgspec.structs.replace(record, text=text, id=record_id(record.title, text))


BEHAVIOURS: dict[str, Callable[[Replace, str], None]] = {
    "a-little-junk": a_little_junk,
    "boast": boast,
    "thin-bond": thin_bond,
}
