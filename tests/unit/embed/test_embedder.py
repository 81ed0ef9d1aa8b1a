from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from node.embed import EmbedderOptions, OnnxEmbedder, open_embedder
from node.embed.e5 import Image
from node.embed.embedder import CHUNK, _turns
from node.embed.errors import EmbedderMissing, ModelUnsupported
from node.embed.folder import read_folder
from node.embed.graph import encoder, save
from node.embed.precision import Precision
from node.embed.vocabulary import tokenizer
from tests.support.tiny_e5 import HIDDEN, PIECES, reference, tiny_image


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    image = Image(tiny_image())
    save(encoder(image, Precision.FLOAT), folder / "model.onnx")
    tokenizer(image.vocabulary).save(str(folder / "tokenizer.json"))
    (folder / "embed.json").write_text('{"query_prefix": "query: ", "max_tokens": 40}')
    return folder


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


async def opened(folder: Path, **options: int) -> OnnxEmbedder:
    return await open_embedder(EmbedderOptions(model_dir=str(folder), **options))


async def test_vectors_come_in_the_order_of_the_texts_with_length_1(tiny: Path) -> None:
    embedder = await opened(tiny)
    texts = ["the dress", "a", "zzz " * 30, "", "ing the a dress"]
    vectors = await embedder.embed(texts)
    assert vectors.shape == (5, HIDDEN) == (5, embedder.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    image, made = Image(tiny_image()), tokenizer(Image(tiny_image()).vocabulary)
    for text, vector in zip(texts[:2], vectors[:2], strict=True):
        wanted = reference(image, made.encode(text).ids)
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)


async def test_a_vector_does_not_depend_on_its_neighbours(tiny: Path) -> None:
    embedder = await opened(tiny, token_budget=8)
    texts = [f"{'the ' * (i % 7)}dress {PIECES[5 + i % 20]}" for i in range(CHUNK + 9)]
    together = await embedder.embed(texts)
    for index in (0, 5, CHUNK - 1, CHUNK, CHUNK + 8):
        np.testing.assert_array_equal(together[index], (await embedder.embed([texts[index]]))[0])


async def test_a_query_has_its_own_prefix(tiny: Path) -> None:
    embedder = await opened(tiny)
    as_text = await embedder.embed(["dress"])
    as_query = await embedder.embed(["dress"], query=True)
    np.testing.assert_array_equal(as_query, await embedder.embed(["query: dress"]))
    assert not np.allclose(as_text, as_query)


async def test_no_text_gives_no_vectors(tiny: Path) -> None:
    assert (await (await opened(tiny)).embed([])).shape == (0, HIDDEN)


async def test_hostile_texts_are_embedded_like_any_other(tiny: Path) -> None:
    vectors = await (await opened(tiny)).embed(["\ud800", "x" * 3_000_000, "\x00", "</s><s>", "\u202e" * 50])
    assert np.isfinite(vectors).all()


async def test_a_short_call_does_not_wait_for_the_end_of_a_long_one(tiny: Path) -> None:
    embedder = await opened(tiny, threads=1, token_budget=8)
    ends: list[str] = []

    async def embed(name: str, count: int) -> None:
        await embedder.embed(["the dress"] * count)
        ends.append(name)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(embed, "long", 400)
            await trio.sleep(0.01)
            nursery.start_soon(embed, "short", 1)
    assert ends == ["short", "long"]


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 100))
def test_turns_cover_every_text_once_and_keep_to_the_budget(lengths: list[int], budget: int) -> None:
    turns = list(_turns(lengths, budget))
    assert [index for turn in turns for index in range(len(lengths))[turn]] == list(range(len(lengths)))
    assert all(sum(lengths[turn]) <= budget or turn.stop - turn.start == 1 for turn in turns)


def test_the_name_of_a_model_changes_with_everything_that_decides_a_vector(copy: Path) -> None:
    names = [read_folder(copy).model_id]
    assert names[0].endswith(":mean")
    assert len(names[0]) <= 96
    (copy / "embed.json").write_text('{"query_prefix": "q: "}')
    names.append(read_folder(copy).model_id)
    (copy / "embed.json").write_text('{"pooling": "cls"}')
    names.append(read_folder(copy).model_id)
    for name in ("model.onnx", "model.onnx.data", "tokenizer.json"):
        (copy / name).write_bytes((copy / name).read_bytes() + b"\n")
        names.append(read_folder(copy).model_id)
    assert len(set(names)) == len(names)


def test_a_nested_layout_is_found(copy: Path) -> None:
    (copy / "onnx").mkdir()
    for name in ("model.onnx", "model.onnx.data"):
        (copy / name).rename(copy / "onnx" / name)
    assert read_folder(copy).graph == copy / "onnx" / "model.onnx"


@pytest.mark.parametrize(
    ("file", "content", "error", "says"),
    [
        ("model.onnx", None, EmbedderMissing, "holds no model.onnx"),
        ("tokenizer.json", None, EmbedderMissing, "holds no tokenizer.json"),
        ("tokenizer.json", "{}", ModelUnsupported, "not a tokenizer"),
        ("embed.json", '{"pooling": "max"}', ModelUnsupported, "correct the file"),
        ("embed.json", "{", ModelUnsupported, "correct the file"),
        ("model.onnx", "not a graph", ModelUnsupported, "cannot be loaded"),
        ("model.onnx.data", "", ModelUnsupported, "cannot be loaded"),
    ],
)
async def test_a_folder_that_is_no_model_says_what_is_wrong(
    copy: Path, file: str, content: str | None, error: type[Exception], says: str
) -> None:
    (copy / file).unlink()
    if content is not None:
        (copy / file).write_text(content)
    with pytest.raises(error, match=says):
        await opened(copy)


def graph(inputs: list[str], output: list[object], folder: Path) -> None:
    """A model that answers zeros of some shape, whatever it is asked."""
    zeros = helper.make_tensor("zeros", TensorProto.FLOAT, output, [0.5] * int(np.prod(np.asarray(output, int))))
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["zeros"], ["answer"])],
            "g",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"]) for name in inputs],
            [helper.make_tensor_value_info("answer", TensorProto.FLOAT, output)],
            [zeros],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, folder / "model.onnx")


async def test_a_model_that_wants_other_inputs_is_refused(copy: Path) -> None:
    graph(["pixels"], [1, 4], copy)
    with pytest.raises(ModelUnsupported, match=r"wants \['pixels'\]: a text encoder takes input_ids"):
        await opened(copy)


async def test_a_model_that_wants_more_than_it_is_given_is_refused(copy: Path) -> None:
    graph(["input_ids", "attention_mask", "pixels"], [1, 4], copy)
    with pytest.raises(ModelUnsupported, match="cannot embed a word"):
        await opened(copy)


async def test_token_types_are_given_when_asked_for_and_pooled_output_is_taken_as_it_is(copy: Path) -> None:
    graph(["input_ids", "attention_mask", "token_type_ids"], [1, 4], copy)
    np.testing.assert_allclose(await (await opened(copy)).embed(["a"]), [[0.5] * 4])


@pytest.mark.parametrize("shape", [[4], [1, 2, 3, 4]])
async def test_an_answer_that_is_not_one_vector_a_text_is_refused(copy: Path, shape: list[object]) -> None:
    graph(["input_ids", "attention_mask"], shape, copy)
    with pytest.raises(ModelUnsupported, match=r"cannot embed a word|not one finite vector"):
        await opened(copy)
