"""Text as it should have been: encoding accidents mended, Unicode composed, the invisible and spare space gone."""

from __future__ import annotations

import re
import unicodedata

import ftfy

# Typographic quotes, ligatures and full-width forms are the author's choice; only damage is mended. Entities are
# decoded only in texts without tags, so that a text about HTML stays one.
_CONFIG = ftfy.TextFixerConfig(
    unescape_html="auto",
    uncurl_quotes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    normalization="NFC",
    explain=False,
)
_ROUNDS = 4  # a text that was damaged several times over; more rounds change nothing in practice
# Zero-width joiners carry meaning in Persian, in the scripts of India and in emoji: they stay.
_KEPT_FORMATS = "\u200c\u200d"
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\n{3,}")


def clean(text: str) -> str:
    """The text in NFC, without control and invisible characters, with single spaces and at most one blank line."""
    for _ in range(_ROUNDS):
        cleaned = _once(text)
        if cleaned == text:
            break
        text = cleaned
    return text


def clean_line(text: str) -> str:
    """The same, on one line: for titles and labels."""
    return " ".join(clean(text).split())


def _once(text: str) -> str:
    text = ftfy.fix_text(text, _CONFIG).replace("\ufffd", "")
    if not text.replace("\n", "").isprintable():  # nearly every text is, and the loop costs most of all
        text = "".join(character for character in text if _visible(character))
    lines = (line.strip() for line in _SPACES.sub(" ", text).split("\n"))
    return unicodedata.normalize("NFC", _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip())


def _visible(character: str) -> bool:
    if character in "\n\t" or character in _KEPT_FORMATS:
        return True
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")
