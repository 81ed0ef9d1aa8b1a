"""What a source hands to the refiner."""

from __future__ import annotations

import msgspec


class RawItem(msgspec.Struct, frozen=True):
    """One item as it was found. `labels` are the source's other columns; `created_at` UTC seconds, 0 when unknown."""

    text: str
    title: str = ""
    labels: dict[str, str] = {}
    created_at: int = 0
