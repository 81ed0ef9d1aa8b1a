"""A trained model on disk: `<models>/<model id>/` with `adapter.onnx`, `card.json` (what it is) and `evaluation.json`
(how good).

The folder appears whole or not at all: it is written beside its place, synced and renamed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TypeVar

import msgspec

from node.models.attribution import Share
from node.models.errors import BadArtifact
from node.models.evaluate import Evaluation
from node.models.runtime import Runtime
from protocols.ids import Address, ModelId, RecordId, address_bytes

T = TypeVar("T")

GRAPH = "adapter.onnx"
CARD = "card.json"
EVALUATION = "evaluation.json"
MAX_GRAPH_BYTES = 256 << 20


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`card.json`: everything about a trained model but its metric. `parent` is the own model it was made from,
    `artifact` the graph's SHA-256, `seconds` the training's, `excluded` what resembled the held-out part, `left_out`
    what ratings kept away.
    """

    model: ModelId
    title: str
    domain: str
    task: str
    label: str
    base: str
    parent: str = ""
    dim: int
    method: str
    settings: dict[str, float]
    classes: tuple[str, ...]
    artifact: bytes
    builder: Address
    trained_on: int
    excluded: int
    left_out: int = 0
    datasets: tuple[int, ...]
    shares: tuple[Share, ...]
    seconds: float
    created_at: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`evaluation.json`: the held-out metric before and after, what the own records alone give, and the validation
    scores.
    """

    evaluation: Evaluation
    own_only: float | None
    validation: dict[str, float]
    held_out: tuple[RecordId, ...]


def model_id(builder: Address, domain: str, graph: bytes) -> ModelId:
    """The id of a model: who built it, for what, and its very bytes. Training again on the same data gives the same
    id.
    """
    head = b"schwung/model/1\0" + address_bytes(builder) + domain.encode() + b"\0"
    return ModelId(hashlib.sha256(head + hashlib.sha256(graph).digest()).hexdigest())


class Artifacts:
    """The folder of models. All methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, manifest: Manifest, report: Report, graph: bytes) -> Path:
        """Write a model's files; one that is there already is replaced."""
        place = self._folder / manifest.model
        draft = self._folder / f".{manifest.model}.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        _write(draft / GRAPH, graph)
        _write(draft / CARD, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        _write(draft / EVALUATION, msgspec.json.format(msgspec.json.encode(report), indent=2))
        shutil.rmtree(place, ignore_errors=True)
        draft.rename(place)
        _sync(self._folder)
        return place

    def manifest(self, model: str) -> Manifest:
        """Raises BadArtifact."""
        return _read(self._folder / model / CARD, Manifest)

    def report(self, model: str) -> Report:
        """Raises BadArtifact."""
        return _read(self._folder / model / EVALUATION, Report)

    def runtime(self, model: str, artifact: bytes) -> Runtime:
        """The model's graph, loaded, if it is the one with this hash. Raises BadArtifact."""
        return Runtime(self.graph(model), expected_sha256=artifact)

    def graph(self, model: str) -> bytes:
        """The bytes of a model's graph, unchecked. Raises BadArtifact."""
        path = self._folder / model / GRAPH
        try:
            if path.stat().st_size > MAX_GRAPH_BYTES:
                raise BadArtifact(f"{path} is over {MAX_GRAPH_BYTES} bytes")
            return path.read_bytes()
        except OSError as err:
            raise BadArtifact(f"{path} cannot be read: {err}") from err


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as err:
        raise BadArtifact(f"{path} cannot be read: {err}") from err


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
