"""Which language a text is in (CLD2), as ISO 639-1."""

from __future__ import annotations

import msgspec
import pycld2

from protocols.quality import PPM

# CLD2's own names for what ISO 639-1 calls otherwise; the two Chinese scripts are one language.
_ISO = {"iw": "he", "jw": "jv", "in": "id", "ji": "yi", "zh-Hant": "zh", "mo": "ro", "un": ""}


class Language(msgspec.Struct, frozen=True):
    """`code` is '' when nothing was recognised; `confidence` in ppm is the share of the text, halved when doubtful."""

    code: str
    confidence: int


UNKNOWN = Language("", 0)


def detect(text: str) -> Language:
    """The main language of a clean text."""
    try:
        reliable, _bytes, found = pycld2.detect(text.encode("utf-8", "ignore"), bestEffort=True)
    except pycld2.error:  # control characters that `clean` would have removed
        return UNKNOWN
    _name, code, percent, _score = found[0]
    iso = _ISO.get(code, code)
    if not iso:
        return UNKNOWN
    return Language(iso, PPM * percent // 100 // (1 if reliable else 2))
