"""From an opened payload to its records, also when its seller committed to junk.

Junk that matches its own root cannot be disputed (cryptography does not say what bytes mean), so a buyer who paid keeps
every record that can be read and learns which cells hold none: that is what his feedback will say.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from protocols.errors import Malformed
from protocols.sealed.cells import Part, join_parts, unpack_cell
from protocols.sealed.keys import cell_key
from protocols.sealed.payload import Payload, open_cell
from protocols.sealed.records import MAX_TEXT_CHARS, Record


class Reading(msgspec.Struct, frozen=True):
    """The records of consecutive cells: one cell, or all pieces of a long record. No records: unreadable cells."""

    cells: range
    records: list[Record]


class Contents(msgspec.Struct, frozen=True):
    """All that a payload holds, and the cells whose committed plaintext is no record."""

    records: list[Record]
    unreadable: list[int]


def read(payload: Payload, content_key: bytes) -> Iterator[Reading]:
    """The payload cell by cell, so that a large or bloated one never stands in memory as a whole.

    Raises WrongKey when a cell is not what was committed (`payload.check` then finds the fault to dispute).
    """
    pieces: list[Part] = []
    chars = 0
    for index in range(payload.cells):
        found = _unpack(open_cell(payload, index, cell_key(content_key, index)))
        follows = isinstance(found, Part) and found.part == len(pieces) and chars <= MAX_TEXT_CHARS
        if pieces and not follows:
            yield Reading(range(index - len(pieces), index), [])
            pieces, chars = [], 0
        if not isinstance(found, Part):
            yield Reading(range(index, index + 1), found)
            continue
        pieces.append(found)
        chars += len(found.record.text)
        if found.part + 1 == found.parts or found.part + 1 != len(pieces):
            yield Reading(range(index + 1 - len(pieces), index + 1), _join(pieces))
            pieces, chars = [], 0
    if pieces:
        yield Reading(range(payload.cells - len(pieces), payload.cells), [])


def salvage(payload: Payload, content_key: bytes) -> Contents:
    """All records that can be read, and the cells that cannot. Raises WrongKey as `read` does."""
    contents = Contents([], [])
    for reading in read(payload, content_key):
        contents.records.extend(reading.records)
        if not reading.records:
            contents.unreadable.extend(reading.cells)
    return contents


def open_all(payload: Payload, content_key: bytes) -> list[Record]:
    """All records. Raises WrongKey or Malformed when a single cell is not as an honest seller makes it."""
    contents = salvage(payload, content_key)
    if contents.unreadable:
        raise Malformed(f"{len(contents.unreadable)} cells hold no records, the first is cell {contents.unreadable[0]}")
    return contents.records


def _unpack(plaintext: bytes) -> list[Record] | Part:
    try:
        return unpack_cell(plaintext)
    except Malformed:
        return []


def _join(pieces: list[Part]) -> list[Record]:
    try:
        return [join_parts(pieces)]
    except Malformed:
        return []
