"""An embedder that remembers: evaluating after training, or training a second task, embeds the same texts again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from node.embed.embedder import Embedder

MOST = 8_192  # vectors: 12.6 MB at 384 dimensions


class Remembering:
    """The newest MOST vectors of an embedder, by text and side."""

    def __init__(self, embedder: Embedder, most: int = MOST) -> None:
        self._embedder = embedder
        self._most = most
        self._known: OrderedDict[bytes, np.ndarray] = OrderedDict()

    @property
    def model_id(self) -> str:
        return self._embedder.model_id

    @property
    def dim(self) -> int:
        return self._embedder.dim

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> np.ndarray:
        """As the embedder below; what is remembered is not computed."""
        keys = [_key(text, query) for text in texts]
        found = {key: self._known[key] for key in keys if key in self._known}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            vectors = await self._embedder.embed(list(missing.values()), query=query)
            found.update(zip(missing, vectors, strict=True))
        self._remember(found)
        if not keys:
            return np.empty((0, self.dim), np.float32)
        return np.stack([found[key] for key in keys])

    def forget(self) -> None:
        """Remember nothing: a text that was erased must not leave its vector here."""
        self._known.clear()

    def _remember(self, found: dict[bytes, np.ndarray]) -> None:
        for key, vector in found.items():
            self._known[key] = vector
            self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)


def _key(text: str, query: bool) -> bytes:
    return hashlib.blake2b((b"q" if query else b"d") + text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
