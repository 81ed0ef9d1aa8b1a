"""Writes the encoder as an ONNX graph with nothing but the `onnx` package: no torch, no exporter.

The graph takes `input_ids` and `attention_mask` (int64, batch × tokens) and answers `sentence_embedding` (float32,
batch × hidden): embeddings, layer norm, post-norm BERT layers (attention, GELU by erf), mean over the unmasked tokens.
L2 normalisation is left to the caller, as other models in Hugging Face layout leave it too.

`Precision.INT8` multiplies in integers and is the fastest on a CPU (cosine to float .996); `Precision.BLOCKS` keeps the
image's own 4-bit blocks, so nothing is rounded a second time (cosine .9999, half the speed); both keep the word table
in 4-bit blocks, which only onnxruntime reads. `Precision.FLOAT` is plain ONNX for any runtime, six times as large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from node.embed.e5 import BLOCK, Blocks, Image
from node.embed.precision import Precision

OPSET = 17
IR_VERSION = 8
# Level 4 asks MLAS to quantise the activations to int8 per block of 32. Unlike unsigned-by-signed int8 products, a
# 4-bit weight times an int8 activation cannot overflow the 16-bit sums of AVX2: CPUs with and without VNNI agree.
ACCURACY_LEVEL = 4
# 7 bits of weight for the same reason: 255 * 127 * 2 overflows the 16-bit sums of AVX2 and a CPU with VNNI would answer
# differently; 255 * 63 * 2 does not. Costs no accuracy that could be measured here.
WEIGHT_LEVELS = 63


def encoder(image: Image, precision: Precision) -> onnx.ModelProto:
    """The ONNX model of the image."""
    return _Writer(image, precision).model()


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write the graph, and its weights to `<path>.data`, which is mapped: a machine's daemons share its pages."""
    location = f"{path.name}.data"
    onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=1_024)


class _Writer:
    def __init__(self, image: Image, precision: Precision) -> None:
        self.image = image
        self.shape = image.shape
        self.precision = precision
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.count = 0
        self.quantised: dict[str, list[str]] = {}

    def model(self) -> onnx.ModelProto:
        hidden = self.embeddings()
        bias = self.mask_bias()
        for layer in range(self.shape.layers):
            hidden = self.layer(layer, hidden, bias)
        self.mean(hidden)
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ]
        outputs = [helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", self.shape.hidden])]
        graph = helper.make_graph(self.nodes, "multilingual-e5-small", inputs, outputs, self.weights)
        imports = [helper.make_opsetid("", OPSET)]
        if self.precision is not Precision.FLOAT:
            imports.append(helper.make_opsetid("com.microsoft", 1))
        return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, producer_name="schwung")

    # -- the encoder -------------------------------------------------------------------------------------------------

    def embeddings(self) -> str:
        shape = self.shape
        words = self.lookup(self.image.blocks("emb.word", shape.vocabulary, shape.hidden))
        # Every token has type 0 here: its row is folded into the positions.
        table = (
            self.image.floats("emb.pos", shape.positions, shape.hidden)
            + self.image.floats("emb.type", shape.token_types, shape.hidden)[0]
        )
        length = self.op("Gather", [self.op("Shape", ["input_ids"]), self.ints([1])], axis=0)
        positions = self.op("Slice", [self.constant(table), self.ints([0]), length, self.ints([0])])
        return self.norm(self.op("Add", [words, positions]), "emb.ln")

    def mask_bias(self) -> str:
        """(batch, 1, 1, tokens): 0 where a token is, a large negative number where padding is."""
        mask = self.op("Cast", ["attention_mask"], to=TensorProto.FLOAT)
        inverted = self.op("Sub", [self.scalar(1.0), mask])
        bias = self.op("Mul", [inverted, self.scalar(-10_000.0)])
        return self.op("Unsqueeze", [bias, self.ints([1, 2])])

    def layer(self, index: int, hidden: str, bias: str) -> str:
        attended = self.attention(f"l{index}", hidden, bias)
        hidden = self.norm(self.op("Add", [attended, hidden]), f"l{index}.aln")
        inner = self.gelu(self.linear(f"l{index}.fi", hidden, self.shape.feed_forward, self.shape.hidden))
        outer = self.linear(f"l{index}.fo", inner, self.shape.hidden, self.shape.feed_forward)
        return self.norm(self.op("Add", [outer, hidden]), f"l{index}.oln")

    def attention(self, prefix: str, hidden: str, bias: str) -> str:
        size, width = self.shape.hidden, self.shape.hidden // self.shape.heads
        query = self.heads(self.linear(f"{prefix}.q", hidden, size, size), [0, 2, 1, 3])
        key = self.heads(self.linear(f"{prefix}.k", hidden, size, size), [0, 2, 3, 1])
        value = self.heads(self.linear(f"{prefix}.v", hidden, size, size), [0, 2, 1, 3])
        scores = self.op("Div", [self.op("MatMul", [query, key]), self.scalar(math.sqrt(width))])
        weights = self.op("Softmax", [self.op("Add", [scores, bias])], axis=-1)
        mixed = self.op("Transpose", [self.op("MatMul", [weights, value])], perm=[0, 2, 1, 3])
        return self.linear(f"{prefix}.ao", self.op("Reshape", [mixed, self.ints([0, 0, size])]), size, size)

    def heads(self, tensor: str, order: Sequence[int]) -> str:
        split = self.ints([0, 0, self.shape.heads, self.shape.hidden // self.shape.heads])
        return self.op("Transpose", [self.op("Reshape", [tensor, split])], perm=list(order))

    def mean(self, hidden: str) -> None:
        mask = self.op("Unsqueeze", [self.op("Cast", ["attention_mask"], to=TensorProto.FLOAT), self.ints([2])])
        total = self.op("ReduceSum", [self.op("Mul", [hidden, mask]), self.ints([1])], keepdims=0)
        count = self.op("ReduceSum", [mask, self.ints([1])], keepdims=0)
        self.nodes.append(helper.make_node("Div", [total, count], ["sentence_embedding"]))

    # -- building blocks ---------------------------------------------------------------------------------------------

    def linear(self, name: str, tensor: str, rows: int, cols: int) -> str:
        blocks = self.image.blocks(f"{name}.w", rows, cols)
        bias = self.constant(self.image.floats(f"{name}.b", rows))
        return self.op("Add", [self.product(tensor, blocks), bias])

    def product(self, tensor: str, blocks: Blocks) -> str:
        rows, cols = blocks.values.shape
        if self.precision is Precision.FLOAT:
            return self.op("MatMul", [tensor, self.constant(np.ascontiguousarray(blocks.dense().T))])
        if self.precision is Precision.INT8:
            return self.integer_product(tensor, blocks.dense())
        packed = self.constant(blocks.packed().reshape(rows, cols // BLOCK, BLOCK // 2))
        attributes = {"K": cols, "N": rows, "bits": 4, "block_size": BLOCK, "accuracy_level": ACCURACY_LEVEL}
        return self.op("MatMulNBits", [tensor, packed, self.constant(blocks.scales)], "com.microsoft", **attributes)

    def integer_product(self, tensor: str, weights: NDArray[np.float32]) -> str:
        """Activations are quantised to uint8 as they come, once for all who read them; weights to int8 per output."""
        step = np.maximum(np.abs(weights).max(axis=1), 1e-12) / WEIGHT_LEVELS
        rounded = np.rint(weights / step[:, None]).astype(np.int8)
        values, scale, zero = self.quantise(tensor)
        no_offset = self.constant(np.zeros(len(step), np.int8))
        columns = self.constant(np.ascontiguousarray(rounded.T))
        total = self.op("MatMulInteger", [values, columns, zero, no_offset])
        unit = self.op("Mul", [scale, self.constant(step.astype(np.float32))])
        return self.op("Mul", [self.op("Cast", [total], to=TensorProto.FLOAT), unit])

    def quantise(self, tensor: str) -> list[str]:
        if tensor not in self.quantised:
            names = [self.name("levels"), self.name("scale"), self.name("zero")]
            self.nodes.append(helper.make_node("DynamicQuantizeLinear", [tensor], names))
            self.quantised[tensor] = names
        return self.quantised[tensor]

    def lookup(self, blocks: Blocks) -> str:
        if self.precision is Precision.FLOAT:
            return self.op("Gather", [self.constant(blocks.dense()), "input_ids"], axis=0)
        attributes = {"bits": 4, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
        table = [self.constant(blocks.packed()), "input_ids", self.constant(blocks.scales)]
        return self.op("GatherBlockQuantized", table, "com.microsoft", **attributes)

    def norm(self, tensor: str, name: str) -> str:
        scale = self.constant(self.image.floats(f"{name}.w", self.shape.hidden))
        shift = self.constant(self.image.floats(f"{name}.b", self.shape.hidden))
        return self.op("LayerNormalization", [tensor, scale, shift], axis=-1, epsilon=self.shape.epsilon)

    def gelu(self, tensor: str) -> str:
        """x/2 · (1 + erf(x/√2)): the shape onnxruntime fuses into one operator."""
        erf = self.op("Erf", [self.op("Div", [tensor, self.scalar(math.sqrt(2.0))])])
        gate = self.op("Add", [erf, self.scalar(1.0)])
        return self.op("Mul", [self.op("Mul", [tensor, gate]), self.scalar(0.5)])

    def op(self, kind: str, inputs: Sequence[str], domain: str = "", **attributes: object) -> str:
        output = self.name(kind.lower())
        self.nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def constant(self, array: NDArray[np.generic]) -> str:
        name = self.name("w")
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def scalar(self, value: float) -> str:
        return self.constant(np.asarray(value, np.float32))

    def ints(self, values: Sequence[int]) -> str:
        return self.constant(np.asarray(values, np.int64))

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"
