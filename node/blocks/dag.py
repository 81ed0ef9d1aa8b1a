"""Files as trees of blocks, byte for byte as `ipfs add --cid-version=1 --raw-leaves` makes them.

Chunks of 262,144 bytes are raw leaves; above more than one stand dag-pb nodes with UnixFS data and up to 174 links,
balanced, a lone tail wrapped like every other group. The protobuf of both (dag-pb and UnixFS, specs.ipfs.tech) is
written by hand because the canonical order (links before data) is not what protobuf libraries write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from node.blocks.cids import DAG_PB, RAW, cid_bytes, cid_of, cid_text, codec_of
from node.blocks.errors import BadBlock
from protocols.errors import BadIdentifier
from protocols.ids import Cid

CHUNK_BYTES = 262_144
LINKS_PER_NODE = 174
MAX_BLOCK_BYTES = 2 << 20  # what Bitswap peers exchange at most
MAX_LINKS = 8_192  # of one node that we accept from others; ours have 174
_FILE, _RAW_TYPE = 2, 0


class Link(NamedTuple):
    """A child: its CID, the bytes of its whole subtree as blocks, the bytes of the file below it."""

    cid: Cid
    tree_bytes: int
    file_bytes: int


class Node(NamedTuple):
    """A decoded block: bytes of the file that lie in it, and its children in order."""

    data: bytes
    children: tuple[Cid, ...]
    file_bytes: int


def blocks_of(data: bytes) -> Iterator[tuple[Cid, bytes]]:
    """All blocks of a file, leaves first, the root last."""
    level: list[Link] = []
    for start in range(0, max(1, len(data)), CHUNK_BYTES):
        chunk = data[start : start + CHUNK_BYTES]
        cid = cid_of(chunk, RAW)
        level.append(Link(cid, len(chunk), len(chunk)))
        yield cid, chunk
    while len(level) > 1:
        above: list[Link] = []
        for start in range(0, len(level), LINKS_PER_NODE):
            group = level[start : start + LINKS_PER_NODE]
            block = encode_node(group)
            cid = cid_of(block, DAG_PB)
            tree = len(block) + sum(link.tree_bytes for link in group)
            above.append(Link(cid, tree, sum(link.file_bytes for link in group)))
            yield cid, block
        level = above


def root_of(data: bytes) -> Cid:
    """The CID a file has."""
    root = Cid("")
    for cid, _block in blocks_of(data):
        root = cid
    return root


def encode_node(links: Sequence[Link]) -> bytes:
    """A dag-pb node over its children."""
    body = bytearray()
    for link in links:
        body += _field(2, _field(1, cid_bytes(link.cid)) + _field(2, b"") + _number(3, link.tree_bytes))
    sizes = b"".join(_number(4, link.file_bytes) for link in links)
    total = sum(link.file_bytes for link in links)
    return bytes(body) + _field(1, _number(1, _FILE) + _number(3, total) + sizes)


def decode_block(cid: Cid, block: bytes) -> Node:
    """A raw or dag-pb block as a node. Raises BadBlock for anything but a UnixFS file."""
    if codec_of(cid) == RAW:
        return Node(block, (), len(block))
    children: list[Cid] = []
    unixfs = b""
    for number, value in _fields(block):
        if number == 2 and isinstance(value, bytes):
            children.append(_link(value))
        elif number == 1 and isinstance(value, bytes):
            unixfs = value
    if len(children) > MAX_LINKS:
        raise BadBlock(f"{cid} has {len(children)} links, the limit is {MAX_LINKS}")
    data, size = _unixfs(cid, unixfs)
    return Node(data, tuple(children), size)


def _link(raw: bytes) -> Cid:
    for number, value in _fields(raw):
        if number == 1 and isinstance(value, bytes):
            try:
                return cid_text(value)
            except BadIdentifier as err:
                raise BadBlock(f"a link with a CID that is not supported: {err}") from err
    raise BadBlock("a link without a CID")


def _unixfs(cid: Cid, raw: bytes) -> tuple[bytes, int]:
    kind, data, size = -1, b"", 0
    for number, value in _fields(raw):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 2 and isinstance(value, bytes):
            data = value
        elif number == 3 and isinstance(value, int):
            size = value
    if kind not in (_FILE, _RAW_TYPE):
        raise BadBlock(f"{cid} is not a file")
    return data, size


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The varint and length-delimited fields of a protobuf message; other wire types are refused."""
    at = 0
    while at < len(raw):
        tag, at = _read_varint(raw, at)
        if tag & 7 == 0:
            number, at = _read_varint(raw, at)
            yield tag >> 3, number
        elif tag & 7 == 2:
            size, at = _read_varint(raw, at)
            if size > len(raw) - at:
                raise BadBlock("a field that is longer than its message")
            yield tag >> 3, raw[at : at + size]
            at += size
        else:
            raise BadBlock(f"protobuf wire type {tag & 7}")


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(raw):
            break
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise BadBlock("a number that does not end")
