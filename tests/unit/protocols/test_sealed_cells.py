"""Packing: small cells, long records, hostile plaintexts, and what a buyer keeps of junk."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from protocols.codec import encode
from protocols.errors import Malformed, RuleBroken
from protocols.sealed import (
    Part,
    Record,
    choose_cell_bytes,
    join_parts,
    open_all,
    pack_cells,
    parse,
    record_id,
    salvage,
    seal,
    seal_cells,
    unpack_cell,
)
from protocols.sealed.cells import MAX_CELL_RECORDS, MAX_PLAIN_BYTES

KEY = bytes(range(32))


def record(text: str, title: str = "", **more: Any) -> Record:
    return Record(id=record_id(title, text), text=text, title=title, **more)


def long_record(chars: int) -> Record:
    text = "".join(chr(0x4E00 + n * 7_919 % 20_000) for n in range(chars))
    return record(text, title="long", labels={"kind": "report"})


def frame(plain: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(plain)


def test_a_long_record_spans_consecutive_cells_that_each_read_alone() -> None:
    whole = long_record(5_000)
    found = [unpack_cell(cell) for cell in pack_cells([whole], 1_024)]
    parts = [part for part in found if isinstance(part, Part)]
    assert len(parts) == len(found) > 5
    assert all(part.record.title == "long" and part.record.text in whole.text for part in parts)
    assert join_parts(parts) == whole


def test_a_long_record_between_short_ones_comes_back_in_its_place() -> None:
    rows = [record("before"), long_record(9_000), record("after")]
    assert open_all(parse(seal(rows, KEY, 512).payload), KEY) == rows


@pytest.mark.parametrize("missing", [0, 2, -1])
def test_a_missing_piece_is_refused(missing: int) -> None:
    parts = [part for part in map(unpack_cell, pack_cells([long_record(5_000)], 1_024)) if isinstance(part, Part)]
    del parts[missing]
    with pytest.raises(Malformed):
        join_parts(parts)


def test_pieces_out_of_order_are_refused() -> None:
    parts = [part for part in map(unpack_cell, pack_cells([long_record(5_000)], 1_024)) if isinstance(part, Part)]
    with pytest.raises(Malformed, match="stands at place"):
        join_parts([parts[1], parts[0], *parts[2:]])


def test_a_record_that_just_misses_a_whole_cell_becomes_two_pieces() -> None:
    counts = {chars: len(pack_cells([long_record(chars)], 512)) for chars in range(80, 160)}
    assert {1, 2} <= set(counts.values())
    for chars in counts:
        assert open_all(parse(seal([long_record(chars)], KEY, 512).payload), KEY) == [long_record(chars)]


def test_a_record_that_inflates_to_just_over_the_bound_becomes_two_pieces() -> None:
    beside = len(encode(record("a" * 60_000))) - 60_000
    for size in range(MAX_PLAIN_BYTES - 6, MAX_PLAIN_BYTES + 3):
        row = record("a" * (size - beside))
        assert open_all(parse(seal([row], KEY, 512).payload), KEY) == [row]


def test_a_foreign_piece_is_refused() -> None:
    mine = [part for part in map(unpack_cell, pack_cells([long_record(5_000)], 1_024)) if isinstance(part, Part)]
    mine[1] = msgspec.structs.replace(mine[1], record=msgspec.structs.replace(mine[1].record, title="other"))
    with pytest.raises(Malformed, match="different records"):
        join_parts(mine)


def test_a_changed_text_does_not_keep_its_id() -> None:
    mine = [part for part in map(unpack_cell, pack_cells([long_record(5_000)], 1_024)) if isinstance(part, Part)]
    mine[1] = msgspec.structs.replace(mine[1], record=msgspec.structs.replace(mine[1].record, text="forged"))
    with pytest.raises(Malformed, match="id"):
        join_parts(mine)


def test_title_and_labels_that_fill_a_cell_are_refused_with_advice() -> None:
    title = long_record(900).text
    with pytest.raises(RuleBroken, match="shorten"):
        pack_cells([record("x" * 600, title=title)], 512)


def test_cells_are_well_filled() -> None:
    rows = [
        record(f"review {n} " + "soft and warm, a bit large in the shoulders; " * (n % 9 + 1)) for n in range(3_000)
    ]
    cells = pack_cells(rows, 4_096)
    assert sum(map(len, cells)) / len(cells) > 0.85 * 4_096


def test_a_small_payload_gets_small_cells_and_a_large_one_large_cells() -> None:
    draw = random.Random(1)
    rows = [record(" ".join(f"{draw.getrandbits(24):x}" for _ in range(60))) for _ in range(400)]
    small = choose_cell_bytes(rows[:100])
    assert len(pack_cells(rows[:100], small)) >= 64
    assert choose_cell_bytes(rows) > small
    assert choose_cell_bytes(rows * 20) == 4_096
    assert choose_cell_bytes(rows[:1]) == 512


def test_a_record_under_a_false_id_is_not_sold() -> None:
    with pytest.raises(RuleBroken, match="id"):
        pack_cells([Record(id="0" * 64, text="x")], 512)


# --- plaintext from a hostile seller ---


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda body: b"\1" + frame(body)))
def test_hostile_plaintext_is_refused_and_nothing_else_is_raised(plain: bytes) -> None:
    with pytest.raises(Malformed):
        unpack_cell(plain)


def test_a_zip_bomb_is_refused_by_its_announced_size() -> None:
    bomb = frame(bytes(100_000_000))
    assert len(bomb) < 16_384
    with pytest.raises(Malformed, match="inflates"):
        unpack_cell(b"\1" + bomb)


def test_a_frame_that_hides_its_size_is_refused() -> None:
    hidden = zstandard.ZstdCompressor(write_content_size=False).compress(encode([record("x")]))
    with pytest.raises(Malformed, match="inflates"):
        unpack_cell(b"\1" + hidden)


def test_a_frame_that_lies_about_its_size_is_refused() -> None:
    honest = bytearray(frame(encode([record("x" * 100)])))
    honest[5] = 40  # the frame's content size, one byte in a single-segment frame (RFC 8878, 3.1.1.1)
    with pytest.raises(Malformed):
        unpack_cell(b"\1" + bytes(honest))


def test_bytes_after_the_frame_are_refused() -> None:
    with pytest.raises(Malformed):
        unpack_cell(b"\1" + frame(encode([record("x")])) + b"more")


def test_unknown_fields_are_refused() -> None:
    extra = {**msgspec.to_builtins(record("x")), "vector": [1, 2]}
    with pytest.raises(Malformed, match="unknown field"):
        unpack_cell(b"\1" + frame(encode([extra])))


def test_too_many_records_in_a_cell_are_refused() -> None:
    row = encode(record("x"))
    count = MAX_CELL_RECORDS + 1
    assert len(row) * count > MAX_PLAIN_BYTES  # so the size bound stands before the count bound
    with pytest.raises(Malformed):
        unpack_cell(b"\1" + frame(b"\xdc" + count.to_bytes(2, "big") + row * count))


@pytest.mark.parametrize(("part", "parts"), [(0, 0), (0, 1), (3, 3), (9, 2)])
def test_impossible_piece_numbers_are_refused(part: int, parts: int) -> None:
    with pytest.raises(Malformed, match="piece"):
        unpack_cell(b"\2" + part.to_bytes(2, "big") + parts.to_bytes(2, "big") + frame(encode(record("x"))))


def test_what_can_be_read_of_committed_junk_is_kept() -> None:
    rows = [record("first"), long_record(4_000), record("last")]
    cells = pack_cells(rows, 1_024)
    broken = [*cells[:1], b"junk", *cells[1:4], b"\1junk", *cells[4:]]
    contents = salvage(parse(seal_cells(broken, KEY).payload), KEY)
    assert contents.records == [rows[0], rows[2]]
    assert contents.unreadable == list(range(1, len(broken) - 1))
    with pytest.raises(Malformed, match="the first is cell 1"):
        open_all(parse(seal_cells(broken, KEY).payload), KEY)


def test_pieces_without_an_end_are_unreadable() -> None:
    cells = pack_cells([long_record(4_000)], 1_024)[:-1]
    contents = salvage(parse(seal_cells(cells, KEY).payload), KEY)
    assert (contents.records, contents.unreadable) == ([], list(range(len(cells))))


def test_a_long_record_without_its_end_does_not_spoil_the_next() -> None:
    whole = long_record(4_000)
    cells = pack_cells([whole], 1_024)
    contents = salvage(parse(seal_cells([*cells[:-1], *cells], KEY).payload), KEY)
    assert (contents.records, contents.unreadable) == ([whole], list(range(len(cells) - 1)))
