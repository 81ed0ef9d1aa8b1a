"""The quality vector of a record: seven components in ppm.

`validity`, `density`, `language` and `privacy` follow from the text alone: a buyer who opened a sample computes the
same numbers (`score_record`). `uniqueness`, `novelty` and `relevance` compare with other records: the seller's to say.

1. validity    which part of seven sanity rules holds (after Gopher, Rae et al. 2021, and C4, Raffel et al. 2020)
2. uniqueness  1 - the greatest Jaccard similarity of word trigrams to any other record here
3. novelty     how far the nearest other vector is, on the model's own scale of closeness
4. density     compressibility: neither repetition nor noise
5. language    how surely the text is in the language it is said to be in
6. privacy     1 - what is left or was redacted of personal data
7. relevance   closeness to what is wanted, on the same scale; one half when nothing is known to be wanted
"""

from __future__ import annotations

import itertools
import unicodedata
import zlib

import msgspec
import numpy as np
from numpy.typing import NDArray

from node.refine.language import detect
from node.refine.personal import PLACEHOLDER, find
from node.refine.script import tokens, unspaced_share
from protocols.quality import PPM, Quality
from protocols.sealed.records import Record

SCORE_VERSION = 1  # raise it when a formula changes: scores of two versions do not compare
UNSPACED = 0.2  # from this share of characters on, words cannot be counted by spaces
NEUTRAL = PPM // 2  # relevance where no demand is known

Vectors = NDArray[np.float32]


def score_record(record: Record) -> Quality:
    """What the record's text says by itself; the comparing components stay 0."""
    return score_text(joined(record.title, record.text), record.language)


def score_text(text: str, language: str) -> Quality:
    """validity, density, language and privacy of a text that is said to be in `language`."""
    return Quality(
        validity=validity(text), density=density(text), language=language_score(text, language), privacy=privacy(text)
    )


def joined(title: str, text: str) -> str:
    """Title and text as they are scored and embedded: one below the other."""
    return f"{title}\n{text}" if title else text


def ppm(value: float) -> int:
    """A share as parts per million, clipped to 0…1."""
    return round(PPM * min(1.0, max(0.0, value)))


# -- from the text alone -----------------------------------------------------------------------------------------------

SYMBOLS = "#…{}<>|\\^~"


def validity(text: str) -> int:
    """The share of seven rules that a text passes."""
    if not text:
        return 0
    unspaced = unspaced_share(text) > UNSPACED
    words = tokens(text) if unspaced else text.split()
    rules = (
        len(text) >= 30 if unspaced else 20 <= len(words) <= 100_000,
        unspaced or 3 <= sum(map(len, words)) / max(1, len(words)) <= 12,
        unspaced or sum(any(map(str.isalpha, word)) for word in words) >= 0.7 * len(words),
        sum(map(text.count, SYMBOLS)) <= 0.1 * max(1, len(words)),
        _repeated([line for line in text.split("\n") if line]) <= 0.3,
        _repeated(list(itertools.pairwise(words))) <= 0.3,
        text.replace("\n", "").isprintable() or not any(_broken(character) for character in text),
    )
    return PPM * sum(rules) // len(rules)


def _repeated(parts: list[object]) -> float:
    return 1 - len(set(parts)) / len(parts) if parts else 0.0


def _broken(character: str) -> bool:
    if character in "\n\t":
        return False
    return character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs")


SHORT_BYTES = 64  # zlib's own overhead drowns the ratio below
REPETITIVE, DENSE, NOISY = 0.15, 0.60, 0.75  # zlib ratios: boilerplate, prose, random characters
LONG_BYTES = 400  # only from here on does prose stay below NOISY


def density(text: str) -> int:
    """How well zlib packs the text: 0 for repetition, 1 for prose, falling again for long noise."""
    raw = text.encode("utf-8", "ignore")
    if len(raw) < SHORT_BYTES:
        return ppm(0.5 * len(raw) / SHORT_BYTES)
    ratio = len(zlib.compress(raw, 6)) / len(raw)
    if ratio > NOISY and len(raw) > LONG_BYTES:
        return ppm(1 - 3 * (ratio - NOISY))
    return ppm((ratio - REPETITIVE) / (DENSE - REPETITIVE))


def language_score(text: str, claimed: str) -> int:
    """CLD2's confidence where it agrees with the claim, 0 where it does not."""
    found = detect(text)
    return found.confidence if found.code == claimed else 0


LEFT = {"iban": 1.0, "card": 1.0, "email": 0.3, "phone": 0.3}  # what one find that is still there costs
REPLACED = 0.05  # a placeholder: the place was personal, and what stands around it may still be


def privacy(text: str) -> int:
    """1 without any trace of personal data; the market sells nothing that falls far below."""
    cost = sum(LEFT[span.kind] for span in find(text)) + REPLACED * len(PLACEHOLDER.findall(text))
    return ppm(1 - cost)


# -- beside others -----------------------------------------------------------------------------------------------------


class Scale(msgspec.Struct, frozen=True):
    """Cosines of unrelated texts: half of all pairs lie below `middle`, one in a hundred above `close`.

    Models differ widely (E5 puts unrelated texts at .8), so a bare cosine says nothing.
    """

    middle: float
    close: float


E5_SCALE = Scale(0.80, 0.90)  # until a shard has enough vectors of its own to measure
SAMPLE = 512  # vectors; 130,816 pairs
SAMPLE_LEAST = 64


def measure_scale(vectors: Vectors, fallback: Scale = E5_SCALE) -> Scale:
    """The scale of a model, from an even sample of vectors in a fixed order."""
    if len(vectors) < SAMPLE_LEAST:
        return fallback
    sample = vectors[np.linspace(0, len(vectors) - 1, min(SAMPLE, len(vectors))).astype(int)]
    cosines = (sample @ sample.T)[np.triu_indices(len(sample), 1)]
    middle, close = np.percentile(cosines, [50, 99])
    return Scale(float(middle), max(float(close), float(middle) + 1e-3))


def novelty(nearest: NDArray[np.float32], scale: Scale) -> list[int]:
    """From the cosine to the nearest other record: 0 for the same meaning, 1 for no more than chance."""
    return [ppm((1 - float(cosine)) / max(1 - scale.middle, 1e-6)) for cosine in nearest]


def relevance(vectors: Vectors, wants: Vectors, scale: Scale) -> list[int]:
    """Closeness to the nearest want: 0 at chance, 1 where only one pair in a hundred is closer."""
    if not len(wants):
        return [NEUTRAL] * len(vectors)
    best = (vectors @ wants.T).max(axis=1)
    return [ppm((float(cosine) - scale.middle) / (scale.close - scale.middle)) for cosine in best]
