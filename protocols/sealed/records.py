"""The record as it is sold: what a sealed cell holds and what a buyer imports.

Vectors are not part of it: a buyer embeds with a model of his own choice, and a vector would leak the text of a
neighbouring, unsold record by comparison.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from msgspec import Meta

from protocols.codec import Message
from protocols.ids import RecordId

MAX_TEXT_CHARS = 200_000
Label = Annotated[str, Meta(max_length=256)]


class Record(Message, frozen=True, kw_only=True):
    """One refined item. `created_at` is UTC seconds, 0 when unknown; `language` an ISO 639-1 code or ''."""

    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARS)]
    title: Annotated[str, Meta(max_length=1_000)] = ""
    language: Annotated[str, Meta(max_length=12)] = ""
    labels: Annotated[dict[Label, Label], Meta(max_length=64)] = {}
    created_at: Annotated[int, Meta(ge=0, le=1 << 53)] = 0


def record_id(title: str, text: str) -> RecordId:
    """Content address of a record: SHA-256 over the lengths-prefixed title and text (UTF-8)."""
    head, body = title.encode(), text.encode()
    digest = hashlib.sha256(len(head).to_bytes(8, "big") + head + body)
    return RecordId(digest.hexdigest())
