"""Builds ONNX graphs node by node, and appends a linear head to a graph of features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, load_from_string, numpy_helper

OPSET = 17
IR_VERSION = 8
EMBEDDING, LOGITS = "embedding", "logits"


class GraphBuilder:
    """Collects nodes and constants; every method returns the name of a tensor."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant; numbers become float32 unless `dtype` says otherwise."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output."""
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def build(self, height: int, width: int, channels: int, outputs: dict[str, list[Any]]) -> bytes:
        """Return the checked model: uint8 NHWC "images" (batch axis free) -> `outputs`.

        Args:
            height, width, channels: of the pictures.
            outputs: shape by output name, the first axis (the batch) left out.
        """
        shape = ["n", height, width, channels]
        graph = helper.make_graph(
            self.nodes,
            "clearsight",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *rest])
                for name, rest in outputs.items()
            ],
            self.constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString()
        return content


def append_head(
    features_model: bytes, weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> bytes:
    """Return the model with "logits" = embedding @ weight + bias put before its outputs.

    Args:
        features_model: ONNX with the output "embedding" (n, d).
        weight: (d, classes) float32.
        bias: (classes,) float32.
    """
    model = load_from_string(features_model)
    graph = model.graph
    for name, value in (("head.weight", weight), ("head.bias", bias)):
        array = np.ascontiguousarray(value, dtype=np.float32)
        graph.initializer.append(numpy_helper.from_array(array, name))
    graph.node.append(
        helper.make_node("Gemm", [EMBEDDING, "head.weight", "head.bias"], [LOGITS], name="head")
    )
    info = helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["n", weight.shape[1]])
    outputs = [info, *graph.output]
    del graph.output[:]
    graph.output.extend(outputs)
    checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content
