"""A model's ONNX graph on onnxruntime: embeddings in, adapted embeddings or class probabilities out.

The graph is small (600 kB, some 10 µs a row), so one thread a run is right and nothing spins beside the embedder.
"""

from __future__ import annotations

import hashlib

import numpy as np
import onnxruntime
import trio

from node.models.errors import BadArtifact
from node.models.export import INPUT, PROBABILITIES
from protocols.inference.messages import MAX_WIDTH

RUNS_AT_ONCE = 2


class Runtime:
    """One loaded graph. The constructor blocks for some milliseconds."""

    def __init__(self, graph: bytes, *, expected_sha256: bytes | None = None) -> None:
        if expected_sha256 is not None and hashlib.sha256(graph).digest() != expected_sha256:
            raise BadArtifact("the model's file is not the one its card names")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as err:  # onnxruntime raises bare classes of its own for whatever a broken graph does
            raise BadArtifact(f"the model's file cannot be loaded: {err}") from err
        self.outputs = {out.name: int(out.shape[1]) for out in self._session.get_outputs()}
        self.dim = int(self._session.get_inputs()[0].shape[1])
        if max(self.outputs.values()) > MAX_WIDTH:
            raise BadArtifact(f"the model answers rows of {max(self.outputs.values())}, the limit is {MAX_WIDTH}")
        self._limiter = trio.CapacityLimiter(RUNS_AT_ONCE)

    def output(self, side: str) -> str:
        """The name of the graph's output for a side: a classifier has one for both."""
        return PROBABILITIES if PROBABILITIES in self.outputs else side

    def run(self, vectors: np.ndarray, side: str) -> np.ndarray:
        """(n, dim) to (n, width), float32. Blocks."""
        fed = np.ascontiguousarray(vectors, dtype=np.float32)
        found: np.ndarray = self._session.run([self.output(side)], {INPUT: fed})[0]
        return found

    async def apply(self, vectors: np.ndarray, side: str) -> np.ndarray:
        """`run` in a worker thread."""
        return await trio.to_thread.run_sync(self.run, vectors, side, limiter=self._limiter)
