"""An own retriever under another model: the other one learns from what it makes of embeddings, and is asked on that."""

from __future__ import annotations

import msgspec
import numpy as np

from node.models.examples import Corpus
from node.models.export import stack
from node.models.runtime import Runtime
from node.models.training import Trained


class Below:
    """An own retriever that another model is made from."""

    def __init__(self, model: str, graph: bytes, runtime: Runtime) -> None:
        self.model = model
        self._graph = graph
        self._runtime = runtime

    async def corpus(self, corpus: Corpus) -> Corpus:
        """The same examples as this model sees them."""
        queries = None if corpus.queries is None else await self._runtime.apply(corpus.queries, "query")
        documents = await self._runtime.apply(corpus.documents, "document")
        return msgspec.structs.replace(corpus, queries=queries, documents=documents)

    async def names(self, names: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Embeddings of class names as this model sees them."""
        if not names:
            return names
        rows = await self._runtime.apply(np.stack(list(names.values())), "query")
        return dict(zip(names, rows, strict=True))

    def under(self, trained: Trained) -> Trained:
        """What was trained on top of this model, as one graph."""
        return msgspec.structs.replace(trained, graph=stack(self._graph, trained.graph))
