"""What becomes a record: the owner's settings."""

from __future__ import annotations

import msgspec


class Rules(msgspec.Struct, frozen=True):
    """Bounds in characters; `near_duplicate_ppm` is the Jaccard similarity of shingles from which two texts are one."""

    min_chars: int = 20
    max_chars: int = 65_536
    near_duplicate_ppm: int = 850_000
    redact: bool = True
