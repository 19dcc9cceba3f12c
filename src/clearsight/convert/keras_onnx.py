"""Writes a Keras model's steps as ONNX: float32 (n, c, h, w) in, scores (n, k) out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from clearsight.convert.keras_graph import INPUT, Graph
from clearsight.convert.keras_layers import Step
from clearsight.convert.packages import needed

OPSET, IR_VERSION = 17, 8
OUTPUT = "scores"
Values = Mapping[str, Any]


def graph_to_onnx(graph: Graph) -> bytes:
    """Return the ONNX file of a model's steps."""
    onnx = needed("onnx", "Importing a Keras model")
    writer = _Writer(onnx)
    for step in graph.steps:
        WRITERS[step.kind](writer, step)
    writer.node("Identity", [graph.output], OUTPUT)
    kinds, info = onnx.TensorProto, onnx.helper.make_tensor_value_info
    made = onnx.helper.make_graph(
        writer.nodes,
        "keras",
        [info(INPUT, kinds.FLOAT, ["n", *graph.input_shape])],
        [info(OUTPUT, kinds.FLOAT, ["n", *graph.output_shape])],
        writer.constants,
    )
    operators = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(made, opset_imports=operators, ir_version=IR_VERSION)
    content: bytes = model.SerializeToString()
    return content


class _Writer:
    """Collects nodes and constants."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, operator: str, reads: list[str], name: str = "", **values: Any) -> str:
        """Add a node; return the name of its output."""
        name = name or f"inner{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(operator, reads, [name], **values))
        return name

    def constant(self, value: Any, kind: Any = np.float32) -> str:
        """Add a constant; return its name."""
        name = f"constant{len(self.constants)}"
        array = np.ascontiguousarray(np.asarray(value, kind))
        array = array.reshape(np.shape(value))
        self.constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name


def _convolution(writer: _Writer, step: Step) -> None:
    values = step.values
    kernel, bias = writer.constant(values["kernel"]), writer.constant(values["bias"])
    writer.node(
        "Conv",
        [step.reads[0], kernel, bias],
        step.name,
        kernel_shape=list(values["kernel"].shape[2:]),
        strides=list(values["strides"]),
        dilations=list(values["dilation"]),
        pads=list(values["pads"]),
        group=values["groups"],
    )


def _dense(writer: _Writer, step: Step) -> None:
    kernel, bias = (writer.constant(step.values[key]) for key in ("kernel", "bias"))
    writer.node("Gemm", [step.reads[0], kernel, bias], step.name)


def _max_pool(writer: _Writer, step: Step) -> None:
    writer.node("MaxPool", [step.reads[0]], step.name, **_window(step.values))


def _mean_pool(writer: _Writer, step: Step) -> None:
    window = _window(step.values)
    writer.node("AveragePool", [step.reads[0]], step.name, count_include_pad=0, **window)


def _window(values: Values) -> dict[str, list[int]]:
    return {
        "kernel_shape": list(values["size"]),
        "strides": list(values["strides"]),
        "pads": list(values["pads"]),
    }


def _global(operator: str) -> Callable[[_Writer, Step], None]:
    def write(writer: _Writer, step: Step) -> None:
        if step.values["keep"]:
            writer.node(operator, [step.reads[0]], step.name)
        else:
            writer.node("Flatten", [writer.node(operator, [step.reads[0]])], step.name)

    return write


def _affine(writer: _Writer, step: Step) -> None:
    """Scale and shift; on a row the channels are the columns."""
    rows = step.values["rank"] == 1
    shape = (1, -1) if rows else (1, -1, 1, 1)
    factor, summand = (
        writer.constant(step.values[k].reshape(shape)) for k in ("factor", "summand")
    )
    writer.node("Add", [writer.node("Mul", [step.reads[0], factor]), summand], step.name)


def _pad(writer: _Writer, step: Step) -> None:
    top, left, bottom, right = step.values["pads"]
    pads = writer.constant([0, 0, top, left, 0, 0, bottom, right], np.int64)
    writer.node("Pad", [step.reads[0], pads], step.name)


def _flatten(writer: _Writer, step: Step) -> None:
    found = step.reads[0]
    if step.values["rank"] == 3:
        found = writer.node("Transpose", [found], perm=[0, 2, 3, 1])
    writer.node("Flatten", [found], step.name)


def _picture(writer: _Writer, step: Step) -> None:
    shape = writer.constant([0, *step.values["shape"]], np.int64)
    found = writer.node("Reshape", [step.reads[0], shape])
    writer.node("Transpose", [found], step.name, perm=[0, 3, 1, 2])


def _joined(operator: str, **values: Any) -> Callable[[_Writer, Step], None]:
    def write(writer: _Writer, step: Step) -> None:
        if operator in ("Concat", "Max", "Mean"):
            writer.node(operator, list(step.reads), step.name, **values)
            return
        found = step.reads[0]
        for number, other in enumerate(step.reads[1:], 2):
            last = step.name if number == len(step.reads) else ""
            found = writer.node(operator, [found, other], last)

    return write


def _activation(writer: _Writer, step: Step) -> None:
    values, x = step.values, step.reads[0]
    name = values["name"]
    if name in PLAIN:
        operator, attributes = PLAIN[name]
        writer.node(operator, [x], step.name, **attributes)
    elif name in ("leaky_relu", "elu"):
        operator = "LeakyRelu" if name == "leaky_relu" else "Elu"
        writer.node(operator, [x], step.name, alpha=float(values["slope"]))
    elif name in ("relu6", "clip"):
        low, high = (0.0, 6.0) if name == "relu6" else (values["low"], values["high"])
        bounds = [writer.constant(np.float32(low)), writer.constant(np.float32(high))]
        writer.node("Clip", [x, *bounds], step.name)
    elif name == "gelu":
        inner = writer.node("Mul", [x, writer.constant(np.float32(1 / math.sqrt(2)))])
        one = writer.constant(np.float32(1))
        gate = writer.node("Add", [writer.node("Erf", [inner]), one])
        half = writer.node("Mul", [x, writer.constant(np.float32(0.5))])
        writer.node("Mul", [half, gate], step.name)
    elif name == "mish":
        gate = writer.node("Tanh", [writer.node("Softplus", [x])])
        writer.node("Mul", [x, gate], step.name)
    elif name in ("silu", "swish"):
        writer.node("Mul", [x, writer.node("Sigmoid", [x])], step.name)
    else:  # hard_silu, hard_swish
        writer.node("HardSwish", [x], step.name)


PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "selu": ("Selu", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "exponential": ("Exp", {}),
    "softmax": ("Softmax", {"axis": -1}),
    "log_softmax": ("LogSoftmax", {"axis": -1}),
}

WRITERS: dict[str, Callable[[_Writer, Step], None]] = {
    "convolution": _convolution,
    "dense": _dense,
    "max-pool": _max_pool,
    "mean-pool": _mean_pool,
    "global-mean": _global("GlobalAveragePool"),
    "global-max": _global("GlobalMaxPool"),
    "affine": _affine,
    "pad": _pad,
    "flatten": _flatten,
    "picture": _picture,
    "add": _joined("Add"),
    "multiply": _joined("Mul"),
    "maximum": _joined("Max"),
    "average": _joined("Mean"),
    "concatenate": _joined("Concat", axis=1),
    "activation": _activation,
}
