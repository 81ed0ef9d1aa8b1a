"""Golden transcripts: files in which `-->` is sent, `<--` must come back, `!!` publishes an event.

An expected object is a subset: members that the transcript leaves out (hints, incident ids) may be anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[2] / "vectors" / "rpc"


def steps(name: str) -> Iterator[tuple[str, str]]:
    """(mark, text) of every line that is not a comment."""
    for line in (VECTORS / name).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            mark, _, text = line.partition(" ")
            yield mark, text


def fits(actual: Any, expected: Any) -> bool:
    """Whether `actual` has everything that `expected` has."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(k in actual and fits(actual[k], v) for k, v in expected.items())
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(expected)
            and all(fits(a, e) for a, e in zip(actual, expected, strict=True))
        )
    return type(actual) is type(expected) and bool(actual == expected)


def check(actual: bytes, expected: str) -> None:
    """Fail with both sides readable."""
    got = json.loads(actual)
    assert fits(got, json.loads(expected)), f"\n  got      {json.dumps(got)}\n  expected {expected}"
