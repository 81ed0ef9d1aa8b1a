"""Times as they are shown: RFC 3339, UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(seconds: int) -> str:
    """UTC seconds as text. What a hostile contract value puts beyond the calendar is shown as its end."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return "9999-12-31T23:59:59Z"
