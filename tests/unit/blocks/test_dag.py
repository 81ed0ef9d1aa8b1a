"""CIDs and trees of blocks: golden vectors, round trips, hostile bytes."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.blocks.cids import DAG_PB, RAW, canonical, cid_bytes, cid_of, cid_text, matches
from node.blocks.dag import CHUNK_BYTES, LINKS_PER_NODE, Link, blocks_of, decode_block, encode_node, root_of
from node.blocks.errors import BadBlock
from protocols.errors import BadIdentifier
from protocols.ids import Cid, parse_cid

# What js-ipfs 0.66.1 answers to `add --cid-version=1 --raw-leaves` of the first SIZE bytes of sha256(b"x") repeated
VECTORS = {
    0: "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
    1: "bafkreibzopqcf2jsed4sclay2dimkq5opqyj4rtebwutusqdctpjth2rci",
    CHUNK_BYTES: "bafkreieklfwkqklor5akc5h5ut27bwua2wnhzbu5b4mfgk4vt6oe34vrpu",
    CHUNK_BYTES + 1: "bafybeidrxeyc2vmtzhv5lcsg6tcw3fu5aprev7hv4aheromrxp5glzkeym",
    1_000_000: "bafybeictbxijolljtwet55ltmqunq5vy7qt3toqi6aoevp6s4opeq5p3wi",
    LINKS_PER_NODE * CHUNK_BYTES: "bafybeieqxkdb7dofank26vlt4uwht4jhkcpugzlvql7optxzl6darxh5om",
    LINKS_PER_NODE * CHUNK_BYTES + 1: "bafybeihcamszqxn2dhhfurvocjpou3dndq37xtngdkc4ygkqg55j4wa53e",
}


def pattern(size: int) -> bytes:
    return (hashlib.sha256(b"x").digest() * (size // 32 + 1))[:size]


@pytest.mark.parametrize("size", VECTORS)
def test_roots_are_those_of_other_implementations(size: int) -> None:
    assert root_of(pattern(size)) == VECTORS[size]


def test_a_lone_tail_is_wrapped_like_every_other_group() -> None:
    blocks = dict(blocks_of(pattern(LINKS_PER_NODE * CHUNK_BYTES + 1)))
    root = list(blocks)[-1]
    first, tail = decode_block(root, blocks[root]).children
    assert len(decode_block(first, blocks[first]).children) == LINKS_PER_NODE
    assert len(decode_block(tail, blocks[tail]).children) == 1


@given(st.binary(max_size=200), st.sampled_from([RAW, DAG_PB]))
def test_a_cid_goes_to_bytes_and_back(block: bytes, codec: int) -> None:
    cid = cid_of(block, codec)
    assert cid_text(cid_bytes(cid)) == cid == parse_cid(cid) == canonical(cid)
    assert matches(cid, block)
    assert not matches(cid, block + b"x")


def test_version_0_and_base58_spellings_name_the_same_block() -> None:
    # the empty UnixFS directory, known to every IPFS implementation
    assert canonical(Cid("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn")) == (
        "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
    )
    assert canonical(Cid("zb2rhmy65F3REf8SZp7De11gxtECBGgUKaLdiDj7MCGCHxbDW")) == VECTORS[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "bafy",
        "z",
        "Qm" + "1" * 44,
        "../../etc/passwd",
        VECTORS[1].upper(),
        VECTORS[1][:-1] + "j",  # stray bits behind the last byte
        "bafkqaaa",  # an identity hash: content in the name
    ],
)
def test_what_is_no_supported_cid_is_refused(text: str) -> None:
    with pytest.raises(BadIdentifier):
        cid_bytes(Cid(text))


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
def test_a_node_goes_to_bytes_and_back(sizes: list[int]) -> None:
    links = [Link(cid_of(b"%d" % size, RAW), size, size) for size in sizes]
    block = encode_node(links)
    node = decode_block(cid_of(block, DAG_PB), block)
    assert node.children == tuple(link.cid for link in links)
    assert node.file_bytes == sum(sizes)


@given(st.binary(max_size=300))
def test_hostile_nodes_decode_or_are_refused(block: bytes) -> None:
    try:
        node = decode_block(cid_of(block, DAG_PB), block)
    except BadBlock:
        return
    assert len(node.children) <= len(block)


@given(st.integers(0, 300), st.integers(0, 255))
def test_a_damaged_node_decodes_or_is_refused(at: int, byte: int) -> None:
    links = [Link(cid_of(b"%d" % number, RAW), 5, 5) for number in range(6)]
    block = bytearray(encode_node(links))
    block[at % len(block)] = byte
    try:
        decode_block(cid_of(bytes(block), DAG_PB), bytes(block))
    except BadBlock:
        return


def test_a_directory_is_not_a_file() -> None:
    block = b"\x0a\x02\x08\x01"
    with pytest.raises(BadBlock, match="not a file"):
        decode_block(cid_of(block, DAG_PB), block)
