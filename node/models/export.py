"""Adapters and heads as ONNX graphs, written with `onnx` alone, so that any runtime serves them without this program.

    adapter   x (n, dim) → `query` and `document` (n, dim): unit((x − mean) W) of either side
    head      x (n, dim) → `probabilities` (n, classes)

A model made from another is one graph: what the lower one answers on a side is what the upper one is asked on it.

Same parameters, same bytes: the artifact's hash names the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from node.models.classify import Head
from node.models.retrieval import Adapter

OPSET = 17
IR_VERSION = 9
PRODUCER = "schwung"
INPUT = "x"
PROBABILITIES = "probabilities"
BELOW = "below."


def adapter_bytes(adapter: Adapter) -> bytes:
    """The graph of an adapter, serialised."""
    nodes, weights = [], [_weight("eps", np.array([1e-12]))]
    for side, mean, matrix in (
        ("query", adapter.query_mean, adapter.query_map),
        ("document", adapter.document_mean, adapter.document_map),
    ):
        weights += [_weight(f"{side}_mean", mean), _weight(f"{side}_map", matrix)]
        nodes += [
            helper.make_node("Sub", [INPUT, f"{side}_mean"], [f"{side}_centred"]),
            helper.make_node("MatMul", [f"{side}_centred", f"{side}_map"], [f"{side}_raw"]),
            helper.make_node("ReduceL2", [f"{side}_raw"], [f"{side}_length"], axes=[1], keepdims=1),
            helper.make_node("Max", [f"{side}_length", "eps"], [f"{side}_divisor"]),
            helper.make_node("Div", [f"{side}_raw", f"{side}_divisor"], [side]),
        ]
    dim = len(adapter.query_mean)
    outputs = {"query": adapter.query_map.shape[1], "document": adapter.document_map.shape[1]}
    return _serialise("adapter", nodes, weights, dim, outputs, {"task": "retrieval", "method": adapter.method})


def head_bytes(head: Head) -> bytes:
    """The graph of a classification head, serialised; the class names are in its metadata."""
    nodes = [
        helper.make_node("Sub", [INPUT, "mean"], ["centred"]),
        helper.make_node("Gemm", ["centred", "weight", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], [PROBABILITIES], axis=1),
    ]
    weights = [_weight("mean", head.mean), _weight("weight", head.weight / head.scale), _weight("bias", head.bias)]
    meta = {"task": "classification", "classes": json.dumps(head.classes, ensure_ascii=False)}
    return _serialise("head", nodes, weights, len(head.mean), {PROBABILITIES: len(head.classes)}, meta)


def stack(lower: bytes, upper: bytes) -> bytes:
    """An adapter's graph below another graph of ours, as one; a head reads the lower one's documents."""
    below, above = onnx.load_model_from_string(lower), onnx.load_model_from_string(upper)
    for node in below.graph.node:
        node.input[:] = [name if name == INPUT else BELOW + name for name in node.input]
        node.output[:] = [BELOW + name for name in node.output]
    for weight in below.graph.initializer:
        weight.name = BELOW + weight.name
    for node in above.graph.node:
        side = "query" if node.output[0].startswith("query") else "document"
        node.input[:] = [BELOW + side if name == INPUT else name for name in node.input]
    width = {out.name: out.type.tensor_type.shape.dim[1].dim_value for out in above.graph.output}
    dim = below.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    nodes = [*below.graph.node, *above.graph.node]
    weights = [*below.graph.initializer, *above.graph.initializer]
    meta = {prop.key.removeprefix("schwung."): prop.value for prop in above.metadata_props}
    return _serialise(above.graph.name, nodes, weights, dim, width, meta)


def _weight(name: str, values: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), name)


def _serialise(
    name: str,
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    dim: int,
    outputs: Mapping[str, int],
    meta: Mapping[str, str],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", dim])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, ["n", width]) for out, width in outputs.items()],
        weights,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name=PRODUCER
    )
    helper.set_model_props(model, {f"schwung.{key}": value for key, value in meta.items()})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
