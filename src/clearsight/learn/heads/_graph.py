"""Puts a head's nodes behind an ONNX model of features."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, load_from_string, numpy_helper

from clearsight.learn.onnx_graph import EMBEDDING, LOGITS


class HeadGraph:
    """Adds nodes that start at "embedding"; every method returns the name of a tensor.

    Args:
        features_model: ONNX with the output "embedding" (n, d).
    """

    embedding = EMBEDDING

    def __init__(self, features_model: bytes) -> None:
        self._model = load_from_string(features_model)
        self._count = 0

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant; numbers become float32 unless `dtype` says otherwise."""
        name = self._name()
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype)).reshape(np.shape(value))
        self._model.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output."""
        name = self._name()
        node = helper.make_node(operator, list(inputs), [name], name=name, **attributes)
        self._model.graph.node.append(node)
        return name

    def finish(self, scores: str, classes: int) -> bytes:
        """Return the checked model with "logits" = the tensor `scores` as its first output."""
        graph = self._model.graph
        graph.node.append(helper.make_node("Identity", [scores], [LOGITS], name="head"))
        info = helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["n", classes])
        outputs = [info, *graph.output]
        del graph.output[:]
        graph.output.extend(outputs)
        checker.check_model(self._model, full_check=True)
        content: bytes = self._model.SerializeToString()
        return content

    def _name(self) -> str:
        self._count += 1
        return f"head.{self._count}"
