"""Amounts survive the way to people and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.amounts import MAX_WEI, parse_amount, tokens


@pytest.mark.parametrize(
    ("text", "wei"),
    [
        ("0", 0),
        ("1500", 1500),
        ("1.5tok", 15 * 10**17),
        ("1.5 TOK", 15 * 10**17),
        ("20gwei", 20 * 10**9),
        ("0.000000000000000001tok", 1),
        ("1_000tok", 10**21),
    ],
)
def test_amounts_as_people_write_them(text: str, wei: int) -> None:
    assert parse_amount(text) == wei


@pytest.mark.parametrize(
    "text", ["", "-1", "1.5", "1e18", "1.5eth", "tok", "0.0000000000000000001tok", f"{MAX_WEI + 1}"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"amount|finer|limit"):
        parse_amount(text)


@given(st.integers(0, MAX_WEI))
def test_eighteen_places_lose_nothing(wei: int) -> None:
    assert parse_amount(tokens(wei, 18) + "tok") == wei


@pytest.mark.parametrize(
    ("wei", "text"), [(0, "0"), (15 * 10**17, "1.5"), (1, "<0.000001"), (-(10**18), "-1"), (123 * 10**10, "0.000001")]
)
def test_amounts_for_people_are_short(wei: int, text: str) -> None:
    assert tokens(wei) == text
