"""Running text cut into passages of a size that one embedding can stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from node.refine.item import RawItem

PASSAGE = 1_500  # characters: some 300 tokens, what an embedding still tells apart
_SENTENCE = re.compile(r"(?<=[.!?…。！？])\s*")
_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r"\s*(```|~~~)")
_IMAGE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_COMMENT = re.compile(r"<!--.*?-->")


def passages(lines: Iterable[str], title: str = "") -> Iterator[RawItem]:
    """Paragraphs (between blank lines) packed into passages; one that is too long is cut between sentences."""
    packed = ""
    for paragraph in _paragraphs(lines):
        for piece in _pieces(paragraph):
            if packed and len(packed) + len(piece) > PASSAGE:
                yield RawItem(packed, title=title)
                packed = ""
            packed = f"{packed}\n\n{piece}" if packed else piece
    if packed:
        yield RawItem(packed, title=title)


def sections(lines: Iterable[str]) -> Iterator[RawItem]:
    """Markdown: each section's passages under its heading. Front matter, comments and link targets are left out."""
    title, body, fenced = "", list[str](), False
    for line in _without_front_matter(lines):
        if _FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else _HEADING.match(line)
        if heading:
            yield from passages(body, title)
            title, body = _unlinked(heading[2]), []
        else:
            body.append(line if fenced else _unlinked(line))
    yield from passages(body, title)


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    held: list[str] = []
    size = 0
    for line in lines:
        if line.strip():
            held.append(line.rstrip())
            size += len(line)
        if held and (not line.strip() or size > 64 * PASSAGE):  # a file without a blank line must not be held whole
            yield "\n".join(held)
            held, size = [], 0
    if held:
        yield "\n".join(held)


def _pieces(paragraph: str) -> Iterator[str]:
    if len(paragraph) <= PASSAGE:
        yield paragraph
        return
    held = ""
    for sentence in _SENTENCE.split(paragraph):
        for start in range(0, len(sentence), PASSAGE):  # a sentence without an end is cut where it must be
            part = sentence[start : start + PASSAGE]
            if held and len(held) + len(part) >= PASSAGE:
                yield held
                held = ""
            held = f"{held} {part}" if held else part
    if held:
        yield held


def _without_front_matter(lines: Iterable[str]) -> Iterator[str]:
    inside = False
    for number, line in enumerate(lines):
        if line.rstrip() == "---" and (number == 0 or inside):
            inside = not inside
        elif not inside:
            yield line


def _unlinked(line: str) -> str:
    return _COMMENT.sub("", _LINK.sub(r"\1", _IMAGE.sub(r"\1", line)))
