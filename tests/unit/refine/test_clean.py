from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.refine.clean import clean, clean_line


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("schÃ¶n", "schön"),
        ("itâ\x80\x99s", "it’s"),
        ("a\u0308", "ä"),
        ("one\u00a0\u2003  two\t three ", "one two three"),
        ("a\r\n\r\n\r\n\r\nb\rc", "a\n\nb\nc"),
        ("zero\u200bwidth\ufeff \u202eright", "zerowidth right"),
        ("می\u200cخواهم 👩\u200d🔬", "می\u200cخواهم 👩\u200d🔬"),
        ("nul\x00 bell\x07 \x1b[31mred\x1b[0m", "nul bell red"),
        ("lone \ud800 surrogate \ufffd", "lone surrogate"),
        ("fish &amp; chips", "fish & chips"),
        ("“quotes” ﬁt ｆｕｌｌ 。", "“quotes” ﬁt ｆｕｌｌ 。"),
        ("  \n \t ", ""),
    ],
)
def test_damage_is_mended_and_meaning_stays(dirty: str, expected: str) -> None:
    assert clean(dirty) == expected


def test_a_title_is_one_line() -> None:
    assert clean_line(" A\ntitle\r\n here ") == "A title here"


@given(st.text(st.characters(codec=None), max_size=200))
def test_a_clean_text_is_clean(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert cleaned == cleaned.strip()
    assert "\n\n\n" not in cleaned
    assert "  " not in cleaned
    cleaned.encode()  # nothing left that UTF-8 cannot hold


@given(st.text("abcdefghij ÄÖÜ漢字かな한글.,!?", max_size=100))
def test_ordinary_text_keeps_its_letters(text: str) -> None:
    assert clean(text).split() == text.split()
