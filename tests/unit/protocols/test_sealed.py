"""Golden vectors, round trips, and everything a stranger can do to a sealed payload."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import Malformed, RuleBroken
from protocols.sealed import (
    Fault,
    Part,
    Record,
    WrongKey,
    cell_key,
    check,
    open_all,
    open_cell,
    parse,
    prove,
    proven,
    record_id,
    root_of,
    seal,
    seal_cells,
    unpack_cell,
)
from protocols.sealed.keys import apply_stream
from protocols.sealed.payload import ENTRY_BYTES, HEADER_BYTES

VECTORS = sorted((Path(__file__).parents[2] / "vectors" / "sealed").glob("*.json"))
KEY = bytes(range(32))


def record(text: str, title: str = "", **more: Any) -> Record:
    return Record(id=record_id(title, text), text=text, title=title, **more)


RECORDS = [
    record(f"Review {n}: " + f"the hem is {n % 7} cm too long. " * (1 + n % 5), labels={"n": str(n)}) for n in range(60)
]
SEALED = seal(RECORDS, KEY, 512)

texts = st.text(min_size=1, max_size=3_000)
records = st.builds(
    record,
    texts,
    title=st.text(max_size=20),
    language=st.sampled_from(["", "en", "de"]),
    labels=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
    created_at=st.integers(0, 1 << 40),
)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_golden_vector(path: Path) -> None:
    vector = json.loads(path.read_text())
    content_key = bytes.fromhex(vector["content_key"])
    sealed = seal_cells([bytes.fromhex(cell) for cell in vector["cells"]], content_key)
    assert sealed.root.hex() == vector["root"]
    assert hashlib.sha256(sealed.payload).hexdigest() == vector["payload_sha256"]
    payload = parse(sealed.payload)
    assert [payload.leaf(i).hex() for i in range(payload.cells)] == vector["leaves"]
    opening = vector["opening"]
    assert cell_key(content_key, opening["index"]).hex() == opening["key"]
    assert payload.ciphertext(opening["index"]).hex() == opening["ciphertext"]
    assert [node.hex() for node in prove(payload, opening["index"]).path] == opening["path"]
    assert [found.id for found in open_all(payload, content_key)] == vector["record_ids"]


def test_the_cipher_is_rfc_8439_with_counter_and_nonce_zero() -> None:
    stream = apply_stream(bytes(32), bytes(128)).hex()  # RFC 8439 appendix A.1, test vectors 1 and 2
    assert stream.startswith("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")
    assert stream[128:].startswith("9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed")


@given(
    st.lists(records, min_size=1, max_size=30),
    st.sampled_from([512, 1_000, 4_096]),
    st.binary(min_size=32, max_size=32),
)
def test_what_was_sealed_is_opened(rows: list[Record], cell_bytes: int, content_key: bytes) -> None:
    sealed = seal(rows, content_key, cell_bytes)
    payload = parse(sealed.payload)
    assert (payload.cells, root_of(payload), sealed.records) == (sealed.cells, sealed.root, len(rows))
    assert check(payload, content_key) is None
    assert open_all(payload, content_key) == rows
    assert all(0 < len(payload.ciphertext(i)) <= cell_bytes for i in range(payload.cells))


def test_every_cell_can_be_opened_and_proven_alone() -> None:
    payload = parse(SEALED.payload)
    for index in range(payload.cells):
        found = unpack_cell(open_cell(payload, index, cell_key(KEY, index)))
        assert isinstance(found, Part) or found[0] in RECORDS
        proof = prove(payload, index)
        assert proven(proof, SEALED.root, SEALED.cells)
        assert not proven(msgspec.structs.replace(proof, index=(index + 1) % SEALED.cells), SEALED.root, SEALED.cells)
        assert not proven(msgspec.structs.replace(proof, path=proof.path[:-1]), SEALED.root, SEALED.cells)
        assert not proven(proof, bytes(32), SEALED.cells)


def test_a_cell_key_opens_no_other_cell() -> None:
    payload = parse(SEALED.payload)
    with pytest.raises(WrongKey, match="key of cell 1"):
        open_cell(payload, 1, cell_key(KEY, 0))


def test_another_content_key_is_a_key_fault() -> None:
    assert check(parse(SEALED.payload), bytes(32)) == Fault(0, "key")


def test_a_cell_that_is_not_its_commitment_is_a_cell_fault() -> None:
    """The seller hashes one plaintext into the index and encrypts another: only the root over it is his commitment."""
    at = HEADER_BYTES + 2 * ENTRY_BYTES + 2
    forged = SEALED.payload[:at] + bytes(32) + SEALED.payload[at + 32 :]
    payload = parse(forged)
    assert check(payload, KEY) == Fault(2, "cell")
    assert check(payload, KEY, 0, 2) is None
    with pytest.raises(WrongKey):
        open_cell(payload, 2, cell_key(KEY, 2))


@given(st.integers(0, len(SEALED.payload) - 1), st.integers(1, 255))
def test_a_change_of_any_byte_is_seen_before_anything_is_paid(position: int, change: int) -> None:
    data = bytearray(SEALED.payload)
    data[position] ^= change
    try:
        payload = parse(bytes(data))
    except Malformed:
        return
    assert (payload.cells, root_of(payload)) != (SEALED.cells, SEALED.root)


@given(st.integers(0, len(SEALED.payload)), st.binary(max_size=40))
def test_a_payload_cut_or_continued_does_not_pass(length: int, tail: bytes) -> None:
    data = SEALED.payload[:length] + tail
    if data == SEALED.payload:
        return
    try:
        payload = parse(data)
    except Malformed:
        return
    assert root_of(payload) != SEALED.root


@given(st.binary(max_size=400) | st.binary(max_size=300).map(lambda tail: b"SWSEALED\0\0\0\1\0\0" + tail))
def test_hostile_bytes_are_refused_and_nothing_else_is_raised(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        root_of(parse(data))


def test_bytes_after_the_last_cell_are_refused() -> None:
    with pytest.raises(Malformed, match="cells end"):
        parse(SEALED.payload + b"x")


def test_an_empty_cell_is_refused() -> None:
    with pytest.raises(Malformed, match="cells of 0"):
        parse(b"SWSEALED" + (1).to_bytes(4, "big") + (2).to_bytes(4, "big") + bytes(66) + b"\0\1" + bytes(65))


def test_a_path_longer_than_the_tree_is_refused() -> None:
    proof = prove(parse(SEALED.payload), 0)
    longer = msgspec.structs.replace(proof, path=(*proof.path, bytes(32)))
    assert not proven(longer, SEALED.root, SEALED.cells)


def test_a_payload_over_the_limit_is_not_even_looked_at() -> None:
    with pytest.raises(Malformed, match="allowed are"):
        parse(SEALED.payload, max_bytes=len(SEALED.payload) - 1)


@pytest.mark.parametrize("cells", [2, 3, (1 << 18) + 1, (1 << 32) - 1])
def test_an_announced_index_larger_than_the_file_is_refused(cells: int) -> None:
    with pytest.raises(Malformed, match="index"):
        parse(b"SWSEALED" + (1).to_bytes(4, "big") + cells.to_bytes(4, "big") + b"\0\1" + bytes(65))


def test_a_later_version_says_so() -> None:
    with pytest.raises(Malformed, match="version 2"):
        parse(b"SWSEALED" + (2).to_bytes(4, "big") + SEALED.payload[12:])


def test_nothing_to_seal_is_refused() -> None:
    with pytest.raises(RuleBroken):
        seal([], KEY, 512)


def test_a_short_content_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        seal(RECORDS, KEY[:31], 512)
