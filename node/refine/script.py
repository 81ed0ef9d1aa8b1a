"""Words and shingles in any script: Chinese, Japanese, Thai and their neighbours write without spaces."""

from __future__ import annotations

import re

# Han, kana, Thai, Lao, Myanmar, Khmer; Hangul has spaces.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_CHARACTER = re.compile(f"[{_UNSPACED}]")
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
SHINGLE = 3  # tokens


def unspaced_share(text: str) -> float:
    """Which part of the characters belongs to scripts without spaces, 0…1."""
    return len(_CHARACTER.findall(text)) / len(text) if text else 0.0


def tokens(text: str) -> list[str]:
    """Lower-case words; in scripts without spaces every character is one."""
    return _TOKEN.findall(text.casefold())


def shingles(text: str) -> set[str]:
    """Runs of three tokens; a shorter text is one shingle."""
    found = tokens(text)
    last = max(1, len(found) - SHINGLE + 1)
    return {" ".join(found[start : start + SHINGLE]) for start in range(last)} - {""}
