"""A model folder in Hugging Face layout, read and named.

    model.onnx | onnx/model.onnx | onnx/model_quantized.onnx     the graph, with its weight file beside it if it has one
    tokenizer.json                                               the tokenizer, in the format of `tokenizers`
    embed.json (may be missing)                                  pooling, prefixes, the longest useful input

`model_id` is a digest of everything that decides a vector. Vectors of two ids never share a table.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from node.embed.errors import EmbedderMissing, ModelUnsupported

GRAPHS = ("model.onnx", "onnx/model.onnx", "onnx/model_quantized.onnx")
WEIGHT_SUFFIXES = (".data", "_data")  # what exporters call the weights beside a graph


class Pooling(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """`embed.json`. A graph whose output is one vector a text is pooled already, whatever stands here."""

    pooling: Literal["mean", "cls"] = "mean"
    query_prefix: str = ""
    doc_prefix: str = ""
    max_tokens: int = 512


class ModelFolder(msgspec.Struct, frozen=True):
    """The files of one model and its name."""

    graph: Path
    tokenizer: Path
    pooling: Pooling
    model_id: str


def read_folder(path: Path) -> ModelFolder:
    """Find the files and name the model. Raises EmbedderMissing, ModelUnsupported."""
    graph = next((path / name for name in GRAPHS if (path / name).is_file()), None)
    if graph is None:
        raise EmbedderMissing(f"{path} holds no {' or '.join(GRAPHS)}: name a folder in Hugging Face layout")
    tokenizer = path / "tokenizer.json"
    if not tokenizer.is_file():
        raise EmbedderMissing(f"{path} holds no tokenizer.json: save one with tokenizers' Tokenizer.save")
    pooling = _pooling(path / "embed.json")
    return ModelFolder(graph, tokenizer, pooling, _model_id(graph, tokenizer, pooling))


def _pooling(path: Path) -> Pooling:
    if not path.is_file():
        return Pooling()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Pooling)
    except msgspec.DecodeError as err:
        raise ModelUnsupported(f"{path}: {err}: correct the file or remove it") from err


def _model_id(graph: Path, tokenizer: Path, pooling: Pooling) -> str:
    weights = [graph.with_name(graph.name + suffix) for suffix in WEIGHT_SUFFIXES]
    digest = hashlib.sha256()
    for file in [graph, *(w for w in weights if w.is_file()), tokenizer]:
        digest.update(file_digest(file))
    digest.update(msgspec.json.encode([pooling.pooling, pooling.query_prefix, pooling.doc_prefix]))
    return f"sha256:{digest.hexdigest()[:32]}:{pooling.pooling}"


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
