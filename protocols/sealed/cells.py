"""Records to cells and back: what stands inside one encrypted cell.

    whole   01 | zstd( MessagePack array of record maps )
    part    02 | part be16 | parts be16 | zstd( MessagePack map of one record, its text a slice )

A cell holds whole records, or one piece of a record too long for a cell. Every cell, also every piece, decodes on its
own: a sampled opening must be readable without its neighbours. So a piece repeats its record's title and labels, and
slices of the text are cut between characters. Plaintext from a seller is hostile: the announced size of a frame is
checked before anything is allocated for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import zstandard

from protocols.codec import decode, encode
from protocols.errors import Malformed, RuleBroken
from protocols.sealed.records import MAX_TEXT_CHARS, Record, record_id

MIN_CELL_BYTES = 512  # below it the 66 bytes of index for each cell cost more than 13 %
MAX_CELL_BYTES = 4_096  # what a cell dispute can decrypt on chain for about 670k gas
WANTED_CELLS = 64  # a sample opens 1/16 of the cells: with 64 it sees four of them
MAX_PLAIN_BYTES = 65_536  # a cell inflated: 16 times the largest cell, more than text compresses to
MAX_CELL_RECORDS = 1_024
MAX_PARTS = 65_535

_WHOLE, _PART = b"\x01", b"\x02"
_PART_HEADER_BYTES = 5
_LEVEL = 3  # level 19 saves 4 % on cells of this size and takes 20 times as long
_PROBE_BYTES = 1 << 18


class Part(msgspec.Struct, frozen=True):
    """Piece `part` (from 0) of `parts` of a long record: the record with only this slice of its text."""

    part: int
    parts: int
    record: Record


def pack_cells(records: Sequence[Record], cell_bytes: int) -> list[bytes]:
    """All of `cells_of`."""
    return list(cells_of(records, cell_bytes))


def cells_of(records: Iterable[Record], cell_bytes: int) -> Iterator[bytes]:
    """The plaintext cells of the records in their order, each of 1 to `cell_bytes` bytes; a few records are held.

    Raises RuleBroken for a record whose id is not its content's or whose title and labels leave no room for text.
    """
    if not MIN_CELL_BYTES <= cell_bytes <= MAX_CELL_BYTES:
        raise ValueError(f"cell_bytes {cell_bytes} is outside {MIN_CELL_BYTES}..{MAX_CELL_BYTES}")
    squeeze = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False)
    waiting, guess = _Waiting(records), 1
    while waiting.fill():
        cell, taken = _fill(squeeze, waiting.bodies, 0, guess, cell_bytes)
        if taken:
            yield cell
            guess = taken
        else:
            yield from _split(squeeze, waiting.records[0], cell_bytes)
            taken = 1
        waiting.drop(taken)


class _Waiting:
    """The next records and their encodings: as many as a cell could hold."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._source = iter(records)
        self._size = 0
        self.records: list[Record] = []
        self.bodies: list[bytes] = []

    def fill(self) -> bool:
        """Whether there are any."""
        while self._size <= MAX_PLAIN_BYTES and len(self.bodies) < MAX_CELL_RECORDS:
            record = next(self._source, None)
            if record is None:
                break
            self.records.append(record)
            self.bodies.append(_body(record))
            self._size += len(self.bodies[-1])
        return bool(self.bodies)

    def drop(self, count: int) -> None:
        self._size -= sum(map(len, self.bodies[:count]))
        del self.records[:count], self.bodies[:count]


def unpack_cell(plaintext: bytes) -> list[Record] | Part:
    """What one opened cell holds. Raises Malformed for anything that `pack_cells` would not write."""
    kind = plaintext[:1]
    if kind == _WHOLE:
        records = decode(_inflate(plaintext[1:]), list[Record], max_bytes=MAX_PLAIN_BYTES)
        if not 0 < len(records) <= MAX_CELL_RECORDS:
            raise Malformed(f"a cell of {len(records)} records, allowed are 1 to {MAX_CELL_RECORDS}")
        for record in records:
            _check_id(record)
        return records
    if kind == _PART and len(plaintext) > _PART_HEADER_BYTES:
        part, parts = int.from_bytes(plaintext[1:3], "big"), int.from_bytes(plaintext[3:5], "big")
        if not part < parts or not 2 <= parts <= MAX_PARTS:
            raise Malformed(f"piece {part} of {parts} of a record")
        record = decode(_inflate(plaintext[_PART_HEADER_BYTES:]), Record, max_bytes=MAX_PLAIN_BYTES)
        return Part(part, parts, record)
    raise Malformed(f"a cell of kind {kind.hex() or 'nothing'}; known are 01 and 02")


def join_parts(parts: Sequence[Part]) -> Record:
    """The long record of its consecutive pieces. Raises Malformed when one is missing, foreign or out of order."""
    if not parts:
        raise Malformed("no pieces to join")
    first = parts[0].record
    for position, piece in enumerate(parts):
        if piece.part != position or piece.parts != len(parts):
            raise Malformed(f"piece {piece.part} of {piece.parts} stands at place {position} of {len(parts)}")
        if msgspec.structs.replace(piece.record, text=first.text) != first:
            raise Malformed("pieces of different records")
    if sum(len(piece.record.text) for piece in parts) > MAX_TEXT_CHARS:
        raise Malformed(f"a record of more than {MAX_TEXT_CHARS} characters")
    joined = msgspec.structs.replace(first, text="".join(piece.record.text for piece in parts))
    _check_id(joined)
    return joined


def choose_cell_bytes(records: Sequence[Record]) -> int:
    """A cell size that gives a small payload about 64 cells, so that a sample sees a fair share of it.

    The compressed size is estimated from the first 256 KiB of records: a larger payload gets the largest cells anyway.
    A cell is twice what a record holds beside its text, since every piece of a long record repeats that.
    """
    total, beside, probe = 0, 0, bytearray()
    for record in records:
        body = _body(record)
        total += len(body)
        beside = max(beside, len(body) - len(record.text.encode()))
        if len(probe) < _PROBE_BYTES:
            probe += body
    if not records:
        return MIN_CELL_BYTES
    squeezed = len(zstandard.ZstdCompressor(level=_LEVEL).compress(bytes(probe)))
    wanted = max(total * squeezed // len(probe) // WANTED_CELLS, 2 * beside)
    return max(MIN_CELL_BYTES, min(MAX_CELL_BYTES, wanted))


def _body(record: Record) -> bytes:
    _check_id(record, RuleBroken)
    return encode(record)


def _fill(
    squeeze: zstandard.ZstdCompressor, bodies: Sequence[bytes], start: int, guess: int, cell_bytes: int
) -> tuple[bytes, int]:
    """The fullest cell from `start`, and how many records it took: (b"", 0) when not even one fits.

    Gallops from the last cell's count: neighbouring cells hold about as many records, so few sizes are tried.
    """
    fits, cell, too_many = 0, b"", _most(bodies, start) + 1
    count = min(guess, too_many - 1)
    while fits < count < too_many:
        tried = _WHOLE + squeeze.compress(_array(bodies[start : start + count]))
        if len(tried) <= cell_bytes:
            fits, cell = count, tried
            count = min(count + max(1, count * (cell_bytes - len(tried)) // len(tried)), too_many - 1)
        else:
            too_many = count
            count = max(fits + 1, min(count - 1, count * cell_bytes // len(tried)))
    return cell, fits


def _most(bodies: Sequence[bytes], start: int) -> int:
    """How many records from `start` stay within the bounds that a reader enforces on an inflated cell."""
    room, count = MAX_PLAIN_BYTES - 3, 0
    for body in bodies[start : start + MAX_CELL_RECORDS]:
        room -= len(body)
        if room < 0:
            break
        count += 1
    return count


def _split(squeeze: zstandard.ZstdCompressor, record: Record, cell_bytes: int) -> list[bytes]:
    slices, at, guess = [], 0, cell_bytes
    while at < len(record.text):
        piece, taken = _slice(squeeze, record, at, guess, cell_bytes - _PART_HEADER_BYTES)
        slices.append(piece)
        at, guess = at + taken, taken
    if len(slices) > MAX_PARTS:
        raise RuleBroken(f"record {record.id} would need {len(slices)} cells: shorten its title and labels")
    total = len(slices).to_bytes(2, "big")
    return [_PART + part.to_bytes(2, "big") + total + piece for part, piece in enumerate(slices)]


def _slice(squeeze: zstandard.ZstdCompressor, record: Record, at: int, guess: int, room: int) -> tuple[bytes, int]:
    """The longest slice of the text from `at` that fits `room` compressed (to within 1/16), and its length.

    The first slice never takes the whole text: one piece is not a long record.
    """
    fits, body, too_many = 0, b"", len(record.text) - at + (at > 0)
    count = min(guess, too_many - 1)
    while fits < count < too_many and too_many - fits > 1 + fits // 16:
        plain = encode(msgspec.structs.replace(record, text=record.text[at : at + count]))
        tried = squeeze.compress(plain)
        if len(tried) <= room and len(plain) <= MAX_PLAIN_BYTES:
            fits, body = count, tried
            count = min(count + max(1, count * (room - len(tried)) // len(tried)), too_many - 1)
        else:
            too_many = count
            count = (fits + too_many) // 2
    if fits == 0:
        raise RuleBroken(f"record {record.id}: title and labels leave no room in a cell of {room} bytes; shorten them")
    return body, fits


def _array(bodies: Sequence[bytes]) -> bytes:
    """The MessagePack array of values already encoded."""
    count = len(bodies)
    head = bytes([0x90 | count]) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return head + b"".join(bodies)


def _inflate(frame: bytes) -> bytes:
    try:
        size = zstandard.frame_content_size(frame)
        if not 0 < size <= MAX_PLAIN_BYTES:
            raise Malformed(f"a cell that inflates to {size} bytes, allowed are 1 to {MAX_PLAIN_BYTES}")
        # A decompressor is not safe to share between threads, and a new one costs less than the decoding that follows.
        opener = zstandard.ZstdDecompressor(max_window_size=MAX_PLAIN_BYTES)
        return opener.decompress(frame, max_output_size=MAX_PLAIN_BYTES, allow_extra_data=False)
    except zstandard.ZstdError as err:
        raise Malformed(f"a cell that does not inflate: {err}") from err


def _check_id(record: Record, error: type[Malformed] | type[RuleBroken] = Malformed) -> None:
    if record.id != record_id(record.title, record.text):
        raise error(f"record {record.id[:16]}… has an id that is not its content's")
