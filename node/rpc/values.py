"""Types of parameters and results that all nouns share, and how values look outside."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import Meta

# `format: amount` tells the command line to accept `1.5tok`
Amount = Annotated[str, Meta(pattern="^(0|[1-9][0-9]{0,28})$", extra_json_schema={"format": "amount"})]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Text = Annotated[str, Meta(min_length=1, max_length=20_000)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Domain = Annotated[str, Meta(pattern="^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
Secret = Annotated[str, Meta(min_length=1, max_length=1024, extra_json_schema={"format": "secret"})]

Result = dict[str, Any]  # an object of JSON values


def time(seconds: float | None) -> str | None:
    """UTC seconds as RFC 3339."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def items(rows: list[Result], cursor: str | None = None) -> Result:
    """A list as every method answers it."""
    return {"items": rows, "next": cursor}
