"""Types of parameters and results that all nouns share, and how values look outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from node.rpc.errors import InvalidParams

# `format` is for clients: the command line accepts `1.5tok` for an amount and asks for a secret instead of showing it
Amount = Annotated[str, Meta(pattern="^(0|[1-9][0-9]{0,28})$", extra_json_schema={"format": "amount"})]
Secret = Annotated[str, Meta(min_length=1, max_length=1024, extra_json_schema={"format": "secret"})]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Text = Annotated[str, Meta(min_length=1, max_length=20_000)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Duration = Annotated[str, Meta(pattern="^[1-9][0-9]{0,8}[smhd]?$")] | Annotated[int, Meta(ge=1, le=31_536_000)]
Domain = Annotated[str, Meta(pattern="^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]

Result = dict[str, Any]  # an object of JSON values


def time(seconds: float | None) -> str | None:
    """UTC seconds as RFC 3339; None and 0 (unknown) as null."""
    if not seconds:
        return None
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(duration: str | int) -> int:
    """`90`, `30m`, `1h`, `7d` as seconds."""
    text = str(duration)
    unit = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}.get(text[-1])
    return int(text[:-1]) * unit if unit else int(text)


def when(text: str, name: str) -> int:
    """RFC 3339 as UTC seconds. Raises InvalidParams, which says `name`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as err:
        raise InvalidParams(f"{name}: {err}") from err
    if moment.tzinfo is None:
        raise InvalidParams(f"{name}: add the time zone, such as 2030-01-01T00:00:00Z")
    return int(moment.timestamp())


def items(rows: Sequence[Any], cursor: str | None = None) -> Result:
    """A list as every method answers it."""
    return {"items": [shown(row) for row in rows], "next": cursor}


def page(rows: Sequence[Any], limit: int, cursor: str) -> Result:
    """One page of rows, of which `limit + 1` were asked for to know an end; `cursor` names the field to go on from."""
    kept = items(rows[:limit])
    if len(rows) > limit:
        kept["next"] = str(kept["items"][-1][cursor])
    return kept


def shown(value: Any, name: str = "") -> Any:
    """A value as JSON: `at` and `…_at` become RFC 3339, `…_wei` a decimal string, bytes hex; vectors stay inside."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): shown(item, str(key)) for key, item in value.items() if key != "vector"}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [shown(item, name) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return "0x" + value.hex()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (
            time(value)
            if name == "at" or name.endswith("_at")
            else str(value)
            if name.endswith("_wei")
            else _plain(value)
        )
    return value


def _plain(value: float) -> float:
    return int(value) if isinstance(value, int) else float(value)
