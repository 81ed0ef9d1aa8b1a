"""A text encoder of some kilobytes, made on the spot: daemons in tests start and embed at once.

Every known word has a random direction, a text is the mean of its words (mean pooling is the node's own). Texts that
share words are close; that is all a deal or a search needs, and far too little to train on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.trainers import WordLevelTrainer

DIM = 32
UNKNOWN = "[UNK]"
OPSET, IR = 17, 8  # what every onnxruntime of the last years reads


def write_model(folder: Path, texts: Sequence[str]) -> Path:
    """A folder for `embedding.model_dir` that knows the words of `texts`; the same texts make the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(texts, WordLevelTrainer(special_tokens=[UNKNOWN], show_progress=False))
    tokenizer.save(str(folder / "tokenizer.json"))
    onnx.save(_graph(tokenizer.get_vocab_size()), str(folder / "model.onnx"))
    return folder


def _graph(words: int) -> onnx.ModelProto:
    table = np.random.default_rng(0).normal(size=(words, DIM)).astype(np.float32)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "words"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["texts", "words", DIM])
    look_up = helper.make_node("Gather", ["table", "input_ids"], ["hidden"])
    graph = helper.make_graph([look_up], "words", inputs, [output], [numpy_helper.from_array(table, "table")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
