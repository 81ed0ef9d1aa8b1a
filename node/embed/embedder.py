"""Text to vectors: an ONNX encoder on the CPU, run in a few worker threads.

    embedder = await open_embedder(EmbedderOptions())
    vectors = await embedder.embed(["a text", "another"])            # float32 (2, dim), each of length 1

A run takes one text. A batch would be no faster for a paragraph (its matrices fill the caches by themselves), and in a
model that quantises its activations as they come, a text's vector would depend on its neighbours in the batch. So a
vector is a function of the text, the model and `max_tokens` alone. Two threads with one intra-op thread each are faster
than one run over two cores, and nothing spins: the event loop keeps its core.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import onnxruntime
import trio
from numpy.typing import NDArray
from tokenizers import Tokenizer

from node.embed.errors import ModelUnsupported
from node.embed.folder import ModelFolder, read_folder
from node.embed.install import install
from node.embed.precision import Precision

Vectors = NDArray[np.float32]

CHUNK = 512  # texts tokenised at once: bounds what one call holds in memory beside its result
CHARS_PER_TOKEN = 32  # a text is cut there before it is tokenised; no language comes near it


class Embedder(Protocol):
    """What the rest of the node needs of an embedder."""

    @property
    def model_id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """Vectors of length 1, float32 (n, dim), in the order of the texts."""
        ...


class EmbedderOptions(msgspec.Struct, frozen=True):
    """`model_dir` None means the default model, fetched and converted at first use."""

    model_dir: str | None = None
    precision: Precision = Precision.INT8
    threads: int = 2
    max_tokens: int = 128  # longer texts are cut there: cost grows with length, the gist stands at the beginning
    token_budget: int = 512  # tokens a thread works through before others get their turn: a tenth of a second


async def open_embedder(options: EmbedderOptions | None = None) -> OnnxEmbedder:
    """Load the model of the options; the default one is installed when it is missing. Raises EmbedError."""
    chosen = options or EmbedderOptions()
    return await trio.to_thread.run_sync(_load, chosen)


def _load(options: EmbedderOptions) -> OnnxEmbedder:
    path = Path(options.model_dir).expanduser() if options.model_dir else install(options.precision)
    return OnnxEmbedder(read_folder(path), options)


class OnnxEmbedder:
    """One loaded model. The constructor blocks for about half a second."""

    def __init__(self, folder: ModelFolder, options: EmbedderOptions) -> None:
        self.model_id = folder.model_id
        self._pooling = folder.pooling
        self._budget = options.token_budget
        self._max_tokens = min(options.max_tokens, folder.pooling.max_tokens)
        self._tokenizer = _tokenizer(folder.tokenizer, self._max_tokens)
        self._session = _session(folder.graph)
        self._inputs = {given.name for given in self._session.get_inputs()}
        if not {"input_ids", "attention_mask"} <= self._inputs:
            raise ModelUnsupported(
                f"{folder.graph} wants {sorted(self._inputs)}: a text encoder takes input_ids and attention_mask"
            )
        self._threads = options.threads
        self._limiter = trio.CapacityLimiter(options.threads)
        self.dim = self._probe(folder.graph)

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """Vectors of length 1 for the texts; `query` chooses the prefix that asymmetric models want."""
        result = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), CHUNK):
            await self._embed_chunk(texts[start : start + CHUNK], query, result[start : start + CHUNK])
        return result

    async def _embed_chunk(self, texts: Sequence[str], query: bool, result: Vectors) -> None:
        rows = await trio.to_thread.run_sync(self._tokenise, texts, query, limiter=self._limiter)
        batches = _turns([len(row) for row in rows], self._budget)

        async def work() -> None:
            for batch in batches:  # one iterator for all workers: each takes the next when it is free
                result[batch] = await trio.to_thread.run_sync(self._run, rows[batch], limiter=self._limiter)

        async with trio.open_nursery() as nursery:
            # No more in flight than threads: a short query from elsewhere waits for one run, not for all of ours.
            for _ in range(self._threads):
                nursery.start_soon(work)

    def _tokenise(self, texts: Sequence[str], query: bool) -> list[list[int]]:
        prefix = self._pooling.query_prefix if query else self._pooling.doc_prefix
        limit = self._max_tokens * CHARS_PER_TOKEN
        # Lone surrogates cannot be encoded; they come from files that were decoded carelessly.
        clean = [(prefix + text[:limit]).encode("utf-8", "replace").decode() for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(clean)]

    def _run(self, rows: Sequence[Sequence[int]]) -> Vectors:
        return _unit(np.concatenate([self._pool(self._forward(row)) for row in rows]))

    def _forward(self, row: Sequence[int]) -> Vectors:
        ids = np.asarray([row], np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        if "token_type_ids" in self._inputs:
            feed["token_type_ids"] = np.zeros_like(ids)
        output: Vectors = self._session.run(None, feed)[0]
        return output

    def _pool(self, output: Vectors) -> Vectors:
        if output.ndim == 2:
            return output
        pooled: Vectors = output[:, 0] if self._pooling.pooling == "cls" else output.mean(axis=1)
        return pooled

    def _probe(self, graph: Path) -> int:
        """The dimension, learnt by a first run that also shows that the files fit together."""
        try:
            vector = self._run(self._tokenise(["probe"], query=False))
        except Exception as err:  # onnxruntime raises bare classes of its own for whatever a foreign graph does
            raise ModelUnsupported(f"{graph} cannot embed a word: {err}") from err
        if vector.ndim != 2 or not np.isfinite(vector).all():
            raise ModelUnsupported(f"{graph} answers {vector.shape}, not one finite vector a text")
        return int(vector.shape[1])


def _turns(lengths: Sequence[int], budget: int) -> Iterator[slice]:
    """The texts in consecutive parts of about `budget` tokens."""
    start = spent = 0
    for index, length in enumerate(lengths):
        if index > start and spent + length > budget:
            yield slice(start, index)
            start, spent = index, 0
        spent += length
    if lengths:
        yield slice(start, len(lengths))


def _unit(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return scaled


def _tokenizer(path: Path, max_tokens: int) -> Any:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as err:  # tokenizers raises bare Exception
        raise ModelUnsupported(f"{path} is not a tokenizer that this version can read: {err}") from err
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _session(graph: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as err:  # see _probe
        raise ModelUnsupported(f"{graph} cannot be loaded: {err}") from err
