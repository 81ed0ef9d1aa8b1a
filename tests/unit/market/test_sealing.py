"""Records sealed into a file: the same payload as in memory, and it goes into the store."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.blocks import open_embedded
from node.market import draft
from protocols.errors import RuleBroken
from protocols.sealed import Record, open_all, parse, record_id, root_of, seal
from protocols.sealed.cells import MAX_CELL_RECORDS, cells_of, pack_cells

KEY = bytes(range(32))


def records(count: int) -> list[Any]:
    texts = [f"{n}: " + " ".join(str(n * k % 9973) for k in range(60)) for n in range(count)]
    return [
        SimpleNamespace(id=record_id("", text), text=text, title="", language="en", labels={}, created_at=0)
        for text in texts
    ]


def goods(rows: list[Any]) -> list[Record]:
    return [Record(id=row.id, text=row.text, language="en") for row in rows]


@pytest.mark.parametrize("count", [1, 700])
def test_a_file_is_sealed_as_memory_is(count: int) -> None:
    rows = records(count)
    sealed, cell_bytes = draft.seal_records(rows, KEY)
    expected = seal(goods(rows), KEY, cell_bytes)
    assert isinstance(sealed.payload, mmap.mmap)
    assert sealed.payload[:] == expected.payload
    assert (sealed.root, sealed.cells, sealed.records) == (expected.root, expected.cells, count)


async def test_what_was_sealed_goes_into_the_store_and_opens(tmp_path: Path) -> None:
    rows = records(3_000)
    sealed, _ = draft.seal_records(rows, KEY)
    async with open_embedded(tmp_path, None) as blocks:
        cid = await blocks.add(sealed.payload)
        payload = parse(await blocks.fetch(cid, providers=[], max_bytes=1 << 30, timeout_s=10))
    assert root_of(payload) == sealed.root
    assert [record.id for record in open_all(payload, KEY)] == [row.id for row in rows]


def test_cells_are_made_as_they_are_asked_for() -> None:
    taken = 0

    def source() -> Iterator[Record]:
        nonlocal taken
        for record in goods(records(5_000)):
            taken += 1
            yield record

    cells = cells_of(source(), 4_096)
    first = next(cells)
    assert 0 < taken <= MAX_CELL_RECORDS
    assert [first, *cells] == pack_cells(goods(records(5_000)), 4_096)


def test_nothing_is_not_sealed() -> None:
    with pytest.raises(RuleBroken, match="no cells"):
        draft.seal_records([], KEY)
