"""How values look outside."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from node.rpc.method import Method
from node.rpc.values import Duration, Result, page, seconds, shown


class Inner(msgspec.Struct):
    at: int
    price_wei: int


class Outer(msgspec.Struct):
    created_at: int
    ended_at: int | None
    root: bytes
    rows: list[Inner]
    vector: list[float]
    score: float


def test_a_struct_becomes_json_by_the_names_of_its_fields() -> None:
    value = Outer(1_700_000_000, None, b"\x01\xff", [Inner(1_700_000_001, 15 * 10**17)], [0.1], float(np.float32(0.5)))
    assert shown(value) == {
        "created_at": "2023-11-14T22:13:20Z",
        "ended_at": None,
        "root": "0x01ff",
        "rows": [{"at": "2023-11-14T22:13:21Z", "price_wei": "1500000000000000000"}],
        "score": 0.5,
    }


def test_an_unknown_time_is_null_and_an_amount_is_never_a_float() -> None:
    assert shown({"created_at": 0, "price_wei": 2**90, "mine": True}) == {
        "created_at": None,
        "price_wei": str(2**90),
        "mine": True,
    }


def test_a_page_has_a_cursor_only_when_more_follows() -> None:
    rows = [{"id": str(n)} for n in range(4)]
    assert page(rows, 3, "id")["next"] == "2"
    assert page(rows[:3], 3, "id")["next"] is None


@pytest.mark.parametrize(("text", "length"), [("90", 90), (90, 90), ("30m", 1_800), ("1h", 3_600), ("7d", 604_800)])
def test_durations_as_people_write_them(text: str | int, length: int) -> None:
    assert seconds(text) == length


async def test_a_parameter_may_be_called_as_a_keyword_is() -> None:
    async def unlock(secret: str, for_: Duration | None = None) -> Result:
        """Unlock."""
        return {"for": for_}

    method = Method("toy.unlock", unlock)
    assert method.bind({"secret": "x", "for": "1h"}) == {"secret": "x", "for_": "1h"}
    assert method.bind(["x", 5]) == {"secret": "x", "for_": 5}
    assert method.bind({"secret": "x", "for": None}) == {"secret": "x", "for_": None}
