"""Files as streams of raw items, one reader a format; nothing is held beside the item at hand.

A line or row that cannot be read is handed on as `Flaw`, so that it is counted; only a file that cannot be read at all
raises.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from node.collect.errors import NoTextColumn, SourceUnreadable
from node.collect.fields import Fields, find_fields, given_fields
from node.collect.prose import passages, sections
from node.refine.item import RawItem

SNIFFED = 65_536  # characters that show a table's dialect
SAMPLE = 50  # rows or objects that show where the text stands
NESTING_MOST = 5_000  # brackets of a line: the decoder recurses in C, and how deep is only bounded by the stack
LINE_MOST = 4 << 20  # characters of one line of JSON or one cell
BLOCK = 1 << 20

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Flaw(msgspec.Struct, frozen=True):
    """A part of a file that is not an item, and why."""

    reason: str


Found = RawItem | Flaw
FieldsGiven = Mapping[str, str] | None


def read(path: Path, wanted: FieldsGiven = None, *, max_bytes: int) -> Iterator[Found]:
    """The items of a file. Raises SourceUnreadable, NoTextColumn."""
    encoding = check(path, max_bytes)
    suffix = path.suffix.lower()
    with path.open(encoding=encoding, newline="") as file:
        if suffix in (".csv", ".tsv"):
            yield from _table(path, file, wanted)
        elif suffix in (".jsonl", ".ndjson"):
            yield from _objects(path, file, wanted)
        elif suffix == ".txt":
            yield from passages(file)
        else:
            yield from sections(file)


def check(path: Path, max_bytes: int) -> str:
    """The encoding of a file, read once through: better now than in the middle. Raises SourceUnreadable."""
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise SourceUnreadable(f"{path} has {size} bytes, the limit is {max_bytes}: split it or raise the limit")
        with path.open("rb") as file:
            encoding = _encoding(file.read(4))
            file.seek(0)
            _decode(path, file, encoding)
    except OSError as err:
        raise SourceUnreadable(f"{path} cannot be read: {err.strerror}: check its rights") from err
    return encoding


def _encoding(head: bytes) -> str:
    return next((name for bom, name in _BOMS if head.startswith(bom)), "utf-8")


def _decode(path: Path, file: io.BufferedReader, encoding: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    at = 0
    while True:
        block = file.read(BLOCK)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as err:
            raise SourceUnreadable(
                f"{path} is not {encoding.upper()} (byte {at + err.start}): convert it, for instance with "
                f"`iconv -f latin1 -t utf-8`"
            ) from err
        if "\0" in text:
            raise SourceUnreadable(f"{path} is a binary file, whatever its name says: collect its text instead")
        if not block:
            return
        at += len(block)


# -- tables ------------------------------------------------------------------------------------------------------------


def _table(path: Path, file: io.TextIOWrapper, wanted: FieldsGiven) -> Iterator[Found]:
    head = file.read(SNIFFED)
    if not head.strip():
        return
    file.seek(0)
    csv.field_size_limit(LINE_MOST)
    rows = csv.reader(file, _dialect(path, head))
    try:
        names = [name.strip() for name in next(rows)]
        first = [dict(zip(names, row, strict=False)) for row in itertools.islice(rows, SAMPLE)]
        fields = _fields(path, names, first, wanted)
        for row in itertools.chain(first, (dict(zip(names, row, strict=False)) for row in rows)):
            yield fields.item(row)
    except csv.Error as err:
        raise SourceUnreadable(f"{path}, line {rows.line_num}: {err}: mend the table or save it as .jsonl") from err


def _dialect(path: Path, head: str) -> type[csv.Dialect]:
    if path.suffix.lower() == ".tsv":
        return csv.excel_tab
    try:
        # Whole lines only: half a quoted cell at the end misleads the sniffer.
        return csv.Sniffer().sniff(head[: head.rfind("\n") + 1] or head, delimiters=",;\t|")
    except csv.Error:  # one column, or cells that look like nothing in common
        return csv.excel


def _fields(path: Path, names: list[str], sample: list[dict[str, Any]], wanted: FieldsGiven) -> Fields:
    try:
        return given_fields(wanted, names) if wanted else find_fields(names, sample)
    except NoTextColumn as err:
        raise NoTextColumn(f"{path}: {err}") from err


# -- lines of JSON -----------------------------------------------------------------------------------------------------


def _objects(path: Path, file: io.TextIOWrapper, wanted: FieldsGiven) -> Iterator[Found]:
    lines = _lines(file)
    first = list(itertools.islice(lines, SAMPLE))
    objects = [line for line in first if isinstance(line, dict)]
    names = list(dict.fromkeys(name for line in objects for name in line))
    fields = _fields(path, names, objects, wanted) if objects else None
    for line in itertools.chain(first, lines):
        if isinstance(line, Flaw):
            yield line
        elif isinstance(line, str):
            yield RawItem(line)
        else:
            fields = fields or _fields(path, list(line), [line], wanted)
            yield fields.item(line)


def _lines(file: io.TextIOWrapper) -> Iterator[dict[str, Any] | str | Flaw]:
    while line := file.readline(LINE_MOST):
        if len(line) == LINE_MOST and not line.endswith("\n"):
            while rest := file.readline(LINE_MOST):
                if rest.endswith("\n"):
                    break
            yield Flaw("too long")
        elif line.strip():
            yield _parse(line)


def _parse(line: str) -> dict[str, Any] | str | Flaw:
    if line.count("[") + line.count("{") > NESTING_MOST:
        return Flaw("malformed")
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return Flaw("malformed")
    return value if isinstance(value, (dict, str)) else Flaw("malformed")
