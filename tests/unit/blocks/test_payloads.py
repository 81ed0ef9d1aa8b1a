"""Payload files on disk, outlines from strangers, and who is asked for what."""

from __future__ import annotations

import os
import random
from mmap import mmap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.blocks import garbage, open_embedded
from node.blocks.cids import DAG_PB, RAW, cid_of
from node.blocks.dag import Link, blocks_of, encode_node, root_of
from node.blocks.errors import BadBlock, TooLarge
from node.blocks.outline import Drawing, NotCanonical, Outline, leaf_cid, leaves_of, outline_in, outline_of
from node.blocks.payloads import Payloads
from node.blocks.runs import SLOW_S, Run, Work
from node.blocks.store import BlockStore
from protocols.ids import Cid
from protocols.payload import LEAF_BYTES

DATA = random.Random(1).randbytes(5 * LEAF_BYTES + 100)
LEAVES = list(leaves_of(DATA))
OUTLINE = outline_of(LEAVES)


def names(folder: Path) -> set[str]:
    return {path.suffix for path in folder.iterdir()}


# -- outlines


@pytest.mark.parametrize("leaves", [2, 174, 175, 174 * 2 + 1])
def test_an_outline_is_the_tree_that_others_build(leaves: int) -> None:
    data = random.Random(leaves).randbytes(1_000) * (leaves * LEAF_BYTES // 1_000)
    outline = outline_of(leaves_of(data))
    blocks = dict(blocks_of(data))
    assert outline.root == root_of(data)
    assert all(blocks[cid] == block for cid, block in outline.nodes)
    assert set(blocks) == {*outline.leaf_cids(), *(cid for cid, _ in outline.nodes)}


def drawn(blocks: list[bytes], root: Cid, max_bytes: int = 1 << 40) -> Outline:
    drawing = Drawing(root, max_bytes)
    for block in blocks:
        assert drawing.proves(block)
        drawing.add(block)
    assert drawing.drawn == drawing.nodes
    return drawing.outline()


def test_an_outline_is_drawn_from_its_nodes() -> None:
    data = bytes(1_000) + random.Random(2).randbytes(175 * LEAF_BYTES)
    outline = outline_of(leaves_of(data))
    again = drawn([block for _, block in outline.nodes], outline.root)
    assert again.digests == outline.digests
    assert again.shape.size_bytes == len(data)


def test_a_node_that_is_another_is_not_proven() -> None:
    drawing = Drawing(OUTLINE.root, 1 << 40)
    assert not drawing.proves(OUTLINE.nodes[0][1] + b"x")
    assert not drawing.proves(b"")
    assert not drawing.proves(bytes(20_000))


def test_a_root_over_the_bound_is_refused() -> None:
    with pytest.raises(TooLarge):
        drawn([OUTLINE.nodes[0][1]], OUTLINE.root, len(DATA) - 1)


def odd(*links: Link) -> tuple[Cid, bytes]:
    block = encode_node(links)
    return cid_of(block, DAG_PB), block


LEAF = [Link(cid, LEAF_BYTES, LEAF_BYTES) for cid in list(OUTLINE.leaf_cids())[:5]]


@pytest.mark.parametrize(
    "links",
    [
        [LEAF[0]],  # a node over one leaf
        [LEAF[0], Link(LEAF[1].cid, 5, 5), LEAF[2]],  # a short leaf in the middle: the sizes do not give three
        [Link(LEAF[0].cid, 5, 5), LEAF[1]],  # two leaves, the short one first
        [Link(cid_of(b"a node", DAG_PB), LEAF_BYTES, LEAF_BYTES), LEAF[1]],
        [Link(LEAF[0].cid, 0, 1 << 50)],
    ],
)
def test_a_tree_that_is_not_chunked_as_ours_is_left_to_bitswap(links: list[Link]) -> None:
    root, block = odd(*links)
    with pytest.raises((NotCanonical, TooLarge)):
        drawn([block], root)
    assert outline_in(root, {root: block}.get) is None


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_root_draws_or_is_refused(at: int, byte: int) -> None:
    """Proven by its own hash, as a hostile publisher would have it."""
    block = bytearray(OUTLINE.nodes[0][1])
    block[at % len(block)] = byte
    root = cid_of(bytes(block), DAG_PB)
    try:
        outline = drawn([bytes(block)], root, 1 << 30)
    except (BadBlock, TooLarge):
        return
    assert outline.root == root


# -- files


def test_a_payload_is_written_in_any_order_and_whole_only_then(tmp_path: Path) -> None:
    payloads = Payloads(tmp_path)
    payload = payloads.begin(OUTLINE)
    for place in (5, 1, 0, 3, 2):
        payloads.write(payload, place, [LEAVES[place]])
        payloads.finish(payload)
        assert not payload.complete
    assert payloads.get(leaf_cid(OUTLINE.digest(3))) == bytes(LEAVES[3])
    assert payloads.get(leaf_cid(OUTLINE.digest(4))) is None
    payloads.write(payload, 4, [LEAVES[4]])
    payloads.finish(payload)
    assert payload.complete
    assert payload.path.read_bytes() == DATA
    assert names(tmp_path) == {".data", ".leaves"}


def test_wrong_leaves_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    payloads = Payloads(tmp_path)
    payload = payloads.begin(OUTLINE)
    for first, leaves in [
        (0, [LEAVES[1]]),
        (0, [LEAVES[0], LEAVES[0]]),
        (5, [LEAVES[5][:-1]]),
        (5, [memoryview(bytes(LEAVES[5]) + b"x")]),
    ]:
        with pytest.raises(BadBlock):
            payloads.write(payload, first, leaves)
    assert payload.missing() == list(range(6))
    assert payload.path.read_bytes() == bytes(len(DATA))


@settings(max_examples=20)
@given(st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5)))
def test_a_restart_knows_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, here: set[int], bad: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("payloads")
    payloads = Payloads(folder)
    payload = payloads.begin(OUTLINE)
    for place in here:
        payloads.write(payload, place, [LEAVES[place]])
    payloads.finish(payload)
    with payload.path.open("r+b") as file:
        for place in bad:  # half a write, a disk that rots
            file.seek(place * LEAF_BYTES + 50)
            file.write(b"rot")
    again = Payloads(folder)
    found = again.find(OUTLINE.root)
    assert found is not None
    assert again.check(found) == (here == set(range(6)) and not bad)
    assert set(range(6)) - set(found.missing()) == here - bad
    for place in range(6):
        assert (again.get(leaf_cid(OUTLINE.digest(place))) is not None) == (place in here - bad)
        again.write(found, place, [LEAVES[place]])
    again.finish(found)
    assert found.path.read_bytes() == DATA


def test_what_a_crash_left_half_made_is_swept(tmp_path: Path) -> None:
    payload = Payloads(tmp_path).begin(OUTLINE)
    leaves = payload.leaves_path.read_bytes()
    payload.leaves_path.write_bytes(leaves[:-1])
    assert Payloads(tmp_path).all() == []
    assert names(tmp_path) == set()
    payload.leaves_path.write_bytes(leaves)  # its data is gone
    payload.leaves_path.with_suffix(".writing").write_bytes(leaves[:9])
    assert Payloads(tmp_path).all() == []
    assert names(tmp_path) == set()


def test_a_leaf_of_two_payloads_outlives_one_of_them(tmp_path: Path) -> None:
    payloads = Payloads(tmp_path)
    other = outline_of([LEAVES[0], LEAVES[4], LEAVES[5]])
    payloads.fill(payloads.begin(OUTLINE), LEAVES)
    payloads.fill(payloads.begin(other), [LEAVES[0], LEAVES[4], LEAVES[5]])
    payloads.remove(OUTLINE.root)
    assert payloads.get(leaf_cid(OUTLINE.digest(4))) == bytes(LEAVES[4])
    assert payloads.get(leaf_cid(OUTLINE.digest(1))) is None
    assert payloads.get(OUTLINE.root) is None
    assert payloads.size_bytes == other.shape.size_bytes + 8 + 3 * 32


def test_leaves_that_a_pinned_tree_needs_outlive_their_payload(tmp_path: Path) -> None:
    """A tree that is no payload, over leaves that stand in one."""
    store = BlockStore(tmp_path)
    store.payloads.fill(store.payloads.begin(OUTLINE), LEAVES)
    below, below_block = odd(LEAF[3])
    root, block = odd(Link(below, LEAF_BYTES, LEAF_BYTES), LEAF[1])
    store.put([(root, block), (below, below_block)])
    store.pinned.add(root)
    garbage.sweep(store, [], 0)
    assert store.payloads.all() == []
    assert garbage.reachable(store, [root]) == {root, below, LEAF[3].cid, LEAF[1].cid}
    assert store.get(LEAF[1].cid) == bytes(LEAVES[1])
    assert store.get(LEAF[3].cid) == bytes(LEAVES[3])
    assert store.get(LEAF[2].cid) is None


def test_the_longest_unused_payload_goes_first(tmp_path: Path) -> None:
    store = BlockStore(tmp_path)
    other = outline_of(LEAVES[3:])
    for at, (outline, leaves) in enumerate([(OUTLINE, LEAVES), (other, LEAVES[3:])], 1):
        payload = store.payloads.begin(outline)
        store.payloads.fill(payload, leaves)
        os.utime(payload.path, (at, at))
    garbage.sweep(store, [], store.size_bytes - 1)
    assert [payload.root for payload in store.payloads.all()] == [other.root]


async def test_a_payload_that_rots_is_missing_and_mended_by_adding_it_again(tmp_path: Path) -> None:
    async with open_embedded(tmp_path, None) as blocks:
        cid = await blocks.add(DATA)
    (path,) = (tmp_path / "payloads").glob("*.data")
    with path.open("r+b") as file:
        file.write(b"rot")
    async with open_embedded(tmp_path, None) as blocks:
        with pytest.raises(Exception, match="not here"):
            await blocks.fetch(cid, providers=[], max_bytes=len(DATA), timeout_s=5)
        assert await blocks.add(DATA) == cid
        assert await blocks.fetch(cid, providers=[], max_bytes=len(DATA), timeout_s=5) == DATA


# -- who is asked for what


def test_runs_are_asked_for_once_unless_one_is_slow() -> None:
    work = Work([0, 1, 2, 3, 4, 9])
    one = work.take([], now=0)
    two = work.take([], now=0)
    three = work.take([Run(0, 4)], now=0)
    assert (one, two, three) == (Run(0, 4), Run(4, 1), Run(9, 1))
    assert work.take([], now=SLOW_S - 1) is None
    assert work.take([Run(4, 1)], now=SLOW_S) is None  # busy enough with its own
    assert work.take([], now=SLOW_S) == Run(0, 4)
    work.failed(Run(0, 4))  # the other may still bring it
    assert not work.done
    work.came(Run(0, 4))
    work.failed(Run(0, 4))  # too late to matter
    work.failed(Run(4, 1))
    assert work.take([], now=SLOW_S) == Run(4, 1)
    for run in (Run(4, 1), Run(9, 1)):
        assert work.wanted(run)
        work.came(run)
        assert not work.wanted(run)
    assert work.done


def test_a_leaf_has_the_cid_of_its_block() -> None:
    assert leaf_cid(OUTLINE.digest(2)) == cid_of(bytes(LEAVES[2]), RAW)


def test_leaves_in_pages_are_written_past_the_cache_and_others_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aligned or not, mixed, and with a last leaf that ends within a page."""
    monkeypatch.setattr("node.blocks.payloads.DIRECT_BYTES", 0)
    payloads = Payloads(tmp_path)
    payload = payloads.begin(OUTLINE)
    pages = memoryview(mmap(-1, 2 * LEAF_BYTES))
    pages[:] = DATA[: 2 * LEAF_BYTES]
    payloads.write(payload, 0, [pages[:LEAF_BYTES], pages[LEAF_BYTES:]])
    payloads.write(payload, 4, LEAVES[4:])
    payloads.write(payload, 2, [memoryview(b"x" + bytes(LEAVES[2]))[1:], LEAVES[3]])
    payloads.finish(payload)
    assert payload.complete
    assert payload.path.read_bytes() == DATA
