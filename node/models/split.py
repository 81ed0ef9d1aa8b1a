"""The held-out part: fixed by each record's id, never drawn anew.

A record is held out when a salted hash of its id falls below the share, so the same record is judged on (and never
trained on) in every run, on every node, whatever else is in the shard. Reviews and descriptions repeat: a training
record that has the title of a held-out one, or nearly its text, would leak the answer. Such records are *excluded*
from training; they are not moved to the held-out side, because then adding a record could turn yesterday's training
item into today's test.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from node.models.examples import Example

HELD_OUT_PPM = 250_000
SHINGLE_WORDS = 4
NEAR_DUPLICATE = 0.5  # Jaccard of word 4-grams; two independent reviews of one dress stay below 0.05
COMMON_SHINGLE = 64  # a shingle in more records than this is a stock phrase and names no pair
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(f"[{_CJK}]|[^\\W{_CJK}]+")  # a CJK character counts as a word


class Split(msgspec.Struct, frozen=True):
    """Row numbers of a corpus: to train on, to judge on, and kept out of both for likeness to a judged one."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]
    excluded: tuple[int, ...]


def split(examples: Sequence[Example], *, held_out_ppm: int = HELD_OUT_PPM) -> Split:
    """Divide by id; drop from training whatever resembles a held-out example by title or text."""
    held_out = [row for row, example in enumerate(examples) if bucket_ppm(example.id, "held-out") < held_out_ppm]
    leaking = resembling(examples, held_out)
    kept = set(held_out)
    rest = [row for row in range(len(examples)) if row not in kept]
    return Split(
        tuple(row for row in rest if row not in leaking),
        tuple(held_out),
        tuple(row for row in rest if row in leaking),
    )


def folds(examples: Sequence[Example], count: int) -> list[tuple[list[int], list[int]]]:
    """(fit, validate) row lists for choosing hyperparameters inside the training part; look-alikes leave `fit`."""
    parts = []
    for number in range(count):
        validate = [row for row, e in enumerate(examples) if bucket_ppm(e.id, "fold") * count // 1_000_000 == number]
        banned = resembling(examples, validate) | set(validate)
        parts.append(([row for row in range(len(examples)) if row not in banned], validate))
    return parts


def bucket_ppm(record: str, salt: str) -> int:
    """0…999,999 from the id alone; different salts are independent."""
    digest = hashlib.sha256(f"schwung/split/1/{salt}/{record}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 1_000_000


def plain(text: str) -> str:
    """What two titles or texts share when a reader would call them the same: words, without case and punctuation."""
    return " ".join(_WORD.findall(text.casefold()))


def shingles(text: str) -> frozenset[str]:
    """Word 4-grams; a shorter text is one shingle of all its words."""
    words = _WORD.findall(text.casefold())
    if not words:
        return frozenset()
    last = max(1, len(words) - SHINGLE_WORDS + 1)
    return frozenset(" ".join(words[start : start + SHINGLE_WORDS]) for start in range(last))


def resembling(examples: Sequence[Example], anchors: Iterable[int]) -> set[int]:
    """Rows outside `anchors` that share a title with an anchor or are near duplicates of one's text."""
    chosen = set(anchors)
    titles = {plain(examples[row].title) for row in chosen} - {""}
    texts = {plain(examples[row].text) for row in chosen}
    grams = [shingles(example.text) for example in examples]
    index: dict[str, list[int]] = defaultdict(list)
    for row in chosen:
        for gram in grams[row]:
            index[gram].append(row)
    return {
        row
        for row, example in enumerate(examples)
        if row not in chosen
        and (plain(example.title) in titles or plain(example.text) in texts or _near(grams, index, row))
    }


def _near(grams: list[frozenset[str]], index: dict[str, list[int]], row: int) -> bool:
    shared: dict[int, int] = defaultdict(int)
    for gram in grams[row]:
        anchors = index.get(gram, ())
        if len(anchors) <= COMMON_SHINGLE:
            for anchor in anchors:
                shared[anchor] += 1
    size = len(grams[row])
    return any(both >= NEAR_DUPLICATE * (size + len(grams[anchor]) - both) for anchor, both in shared.items())
