"""The bounds of a tree that is being fetched, without a network."""

from __future__ import annotations

import pytest

from node.blocks.cids import DAG_PB, RAW, cid_of
from node.blocks.dag import CHUNK_BYTES, Link, blocks_of, encode_node
from node.blocks.errors import BadBlock, TooLarge
from node.blocks.fetching import Tree, from_store
from protocols.ids import Cid


async def assemble(blocks: dict[Cid, bytes], root: Cid, max_bytes: int) -> bytes:
    async def read(cid: Cid) -> bytes | None:
        return blocks.get(cid)

    tree = Tree(root, max_bytes)
    await from_store(tree, read)
    assert tree.complete
    return await tree.assemble(read)


async def test_a_tree_gives_its_file() -> None:
    data = bytes(range(256)) * 4_000
    blocks = dict(blocks_of(data))
    assert await assemble(blocks, list(blocks)[-1], len(data)) == data


async def test_a_chunk_that_repeats_is_fetched_once_and_read_often() -> None:
    data = b"\0" * (5 * CHUNK_BYTES)
    blocks = dict(blocks_of(data))
    assert len(blocks) == 2
    assert await assemble(blocks, list(blocks)[-1], len(data)) == data


async def test_a_tree_that_doubles_at_every_level_is_stopped() -> None:
    """40 levels of two links to the same child: 40 small blocks that spell a tebibyte."""
    chunk = bytes(1_000)
    cid = cid_of(chunk, RAW)
    blocks = {cid: chunk}
    for _level in range(40):
        block = encode_node([Link(cid, 0, 0), Link(cid, 0, 0)])  # it lies about its size
        cid = cid_of(block, DAG_PB)
        blocks[cid] = block
    with pytest.raises(TooLarge):
        await assemble(blocks, cid, 1_000_000)


async def test_a_tree_of_empty_leaves_is_stopped() -> None:
    leaf = cid_of(b"", RAW)
    blocks = {leaf: b""}
    inner = encode_node([Link(leaf, 0, 0)] * 8_000)
    name = cid_of(inner, DAG_PB)
    root = encode_node([Link(name, 0, 0)] * 8_000)
    blocks |= {name: inner, cid_of(root, DAG_PB): root}
    with pytest.raises(TooLarge):
        await assemble(blocks, cid_of(root, DAG_PB), 1_000_000)


def test_a_root_that_tells_too_large_a_size_is_refused_before_its_leaves() -> None:
    data = bytes(3 * CHUNK_BYTES)
    root, block = list(blocks_of(data))[-1]
    tree = Tree(root, len(data) - 1)
    assert tree.take(10) == [root]
    with pytest.raises(TooLarge, match="expected"):
        tree.add(root, block)


def test_more_blocks_than_the_size_calls_for_are_refused() -> None:
    links = [Link(cid_of(b"%d" % number, RAW), 1, 1) for number in range(1_000)]
    block = encode_node(links)
    root = cid_of(block, DAG_PB)
    tree = Tree(root, 100_000)
    tree.take(1)
    with pytest.raises(TooLarge, match="more blocks"):
        tree.add(root, block)


def test_a_node_with_too_many_links_is_refused() -> None:
    block = encode_node([Link(cid_of(b"", RAW), 0, 0)] * 9_000)
    root = cid_of(block, DAG_PB)
    tree = Tree(root, 1 << 40)
    tree.take(1)
    with pytest.raises(BadBlock, match="9000 links"):
        tree.add(root, block)


def test_what_was_looked_for_in_vain_comes_first_again() -> None:
    blocks = list(blocks_of(b"".join(bytes([n]) * CHUNK_BYTES for n in range(4))))
    root, block = blocks[-1]
    tree = Tree(root, 4 * CHUNK_BYTES)
    tree.take(1)
    tree.add(root, block)
    first = tree.take(2)
    tree.give_back(first)
    assert tree.take(4) == [cid for cid, _ in blocks[:4]]
