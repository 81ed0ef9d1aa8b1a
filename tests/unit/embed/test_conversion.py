from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from node.embed.e5 import Image
from node.embed.errors import InstallFailed
from node.embed.graph import encoder, save
from node.embed.precision import Precision
from node.embed.vocabulary import tokenizer
from tests.support.tiny_e5 import PIECES, VOCABULARY, reference, tiny_image

LEAST_COSINE = {Precision.FLOAT: 0.999999, Precision.BLOCKS: 0.999, Precision.INT8: 0.98}


@pytest.mark.parametrize("precision", Precision)
def test_the_graph_computes_what_the_paper_says(tmp_path: Path, precision: Precision) -> None:
    image = Image(tiny_image())
    save(encoder(image, precision), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for ids in ([0, 2], [0, 5, 9, 31, 2], list(range(VOCABULARY - 20, VOCABULARY))):
        given = np.asarray([ids], np.int64)
        (found,) = session.run(None, {"input_ids": given, "attention_mask": np.ones_like(given)})
        wanted = reference(image, ids)
        cosine = float(found[0] @ wanted / np.linalg.norm(found[0]) / np.linalg.norm(wanted))
        assert cosine > LEAST_COSINE[precision]
        if precision is Precision.FLOAT:
            np.testing.assert_allclose(found[0], wanted, atol=1e-4)


@pytest.mark.parametrize("precision", [Precision.FLOAT, Precision.BLOCKS])
def test_padding_changes_nothing(tmp_path: Path, precision: Precision) -> None:
    save(encoder(Image(tiny_image()), precision), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    ids = np.asarray([[0, 7, 8, 2, 1, 1], [0, 9, 9, 9, 9, 2]], np.int64)
    mask = np.asarray([[1, 1, 1, 1, 0, 0], [1] * 6], np.int64)
    (padded,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    (alone,) = session.run(None, {"input_ids": ids[:1, :4], "attention_mask": mask[:1, :4]})
    np.testing.assert_allclose(padded[0], alone[0], atol=1e-5)


def test_blocks_pack_and_unpack_to_the_same_numbers() -> None:
    blocks = Image(tiny_image()).blocks("l0.fi.w", 128, 64)
    assert blocks.values.max() == 15
    packed = blocks.packed()
    again = np.stack([packed & 15, packed >> 4], axis=2).reshape(128, 64)
    np.testing.assert_array_equal(again, blocks.values)
    assert blocks.dense()[0, 0] == pytest.approx((int(blocks.values[0, 0]) - 8) * blocks.scales[0, 0])


def test_a_block_is_a_scale_and_its_low_nibbles_before_its_high_ones() -> None:
    image = Image(tiny_image())
    start = image._tensors["emb.word"]
    raw = tiny_image()[start : start + 18]
    (scale,) = struct.unpack("<e", raw[:2])
    by_hand = [scale * ((byte & 15) - 8) for byte in raw[2:]] + [scale * ((byte >> 4) - 8) for byte in raw[2:]]
    np.testing.assert_allclose(image.blocks("emb.word", VOCABULARY, 64).dense()[0, :32], by_hand, rtol=1e-6)


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(encoder(Image(tiny_image()), Precision.INT8), tmp_path / name / "model.onnx")
        files.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert files[0] == files[1]


def test_the_tokenizer_takes_the_likeliest_pieces_between_its_marks() -> None:
    made = tokenizer(Image(tiny_image()).vocabulary)
    assert [PIECES[id] for id in made.encode("the   dress").ids] == ["<s>", "▁the", "▁dress", "</s>"]
    assert made.encode("①").ids[0] == 0  # NFKC makes a 1 of it, which this vocabulary does not have
    assert 3 in made.encode("①").ids


def test_another_file_is_no_image() -> None:
    with pytest.raises(InstallFailed, match="E5S1"):
        Image(b"GGUF" + bytes(200))
