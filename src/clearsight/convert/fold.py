"""Folds a model's preparation and its last activation into its ONNX file: pixels in, logits out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from clearsight.convert.feeding import Feeding
from clearsight.convert.onnx_outline import PURPOSE, UINT8, Outline, choose_output
from clearsight.convert.packages import needed
from clearsight.core.errors import BundleError, UsageError
from clearsight.core.nouns import Preprocessing, Task

IMAGES, LOGITS, PREFIX = "images", "logits", "model/"
OPSET, FIRST_OPSET = 17, 9
LEAST = 1e-30
"""Probabilities are not below this when their logarithm is taken."""

Ending = Literal["logits", "probabilities"]


@dataclass(frozen=True)
class Folded:
    """A model as a Bundle wants it.

    Args:
        model: ONNX: uint8 NHWC "images" with a free batch -> "logits" (n, classes).
        original: the same graph as it was, with a free batch, a fixed size and this output alone.
        output: name of the original's scores.
        ending: what the original's scores are.
        single: the original gives one number a picture, for the second of two classes.
    """

    model: bytes
    original: bytes
    output: str
    ending: Ending
    single: bool


def fold(
    proto: Any, seen: Outline, feeding: Feeding, preprocessing: Preprocessing, task: Task,
    classes: int,
) -> Folded:  # fmt: skip
    """Return the model with its preparation in front and logits at its end.

    Args:
        proto: the parsed model; it is changed.
        seen: its outline.
        feeding: complete.
        preprocessing: what the Bundle says of its input.
        task: what a label is.
        classes: how many.

    Raises:
        BundleError: it cannot be brought into this form.
        UsageError: what was said of the outputs contradicts the model.
    """
    onnx = needed("onnx", PURPOSE)
    proto = _current(onnx, proto)
    _free_batch(onnx, proto, seen, feeding, preprocessing)
    name = choose_output(seen, feeding, classes)
    original = _alone(onnx, proto, name)
    scores, last = _end(proto, name)
    single = _is_single(seen.outputs[name])
    ending = _ending(last, feeding, task, single)
    folded = onnx.compose.add_prefix(proto, PREFIX)
    graph = folded.graph
    front = _front(onnx, graph, seen, feeding)
    raw = PREFIX + (scores if last is not None else name)
    back = _back(onnx, graph, raw, ending if last is None else "logits", task, single)
    nodes = [*front, *graph.node, *back]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    kinds, info = onnx.TensorProto, onnx.helper.make_tensor_value_info
    p = preprocessing
    graph.input.append(info(IMAGES, kinds.UINT8, ["n", p.height, p.width, p.channels]))
    graph.output.append(info(LOGITS, kinds.FLOAT, ["n", classes]))
    _drop_unused(graph, {LOGITS})
    return Folded(folded.SerializeToString(), original, name, ending, single)


def _alone(onnx: Any, proto: Any, name: str) -> bytes:
    """Return the model with one output and what that needs; nothing else will be run."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    outputs = [item for item in copy.graph.output if item.name == name]
    del copy.graph.output[:]
    copy.graph.output.extend(outputs)
    _drop_unused(copy.graph, {name})
    content: bytes = copy.SerializeToString()
    return content


def _current(onnx: Any, proto: Any) -> Any:
    """Return the model with operators of a version that all parts of it are written for."""
    versions = [item.version for item in proto.opset_import if item.domain in ("", "ai.onnx")]
    if not versions:
        raise BundleError("The model names no version of the ONNX operators.")
    if versions[0] < FIRST_OPSET:
        raise BundleError(
            f"The model uses ONNX operators of version {versions[0]}; {FIRST_OPSET} is the oldest "
            "that is read. Export it again."
        )
    if versions[0] >= 13:
        return proto
    try:
        return onnx.version_converter.convert_version(proto, OPSET)
    except Exception as error:  # C++ exceptions of the converter
        raise BundleError(
            f"The model uses ONNX operators of version {versions[0]}, which cannot be converted to "
            f"{OPSET}: {error}. Export it again."
        ) from error


def _free_batch(
    onnx: Any, proto: Any, seen: Outline, feeding: Feeding, preprocessing: Preprocessing
) -> None:
    """Give the input a free batch and fixed sizes; shapes that hold a fixed batch follow it."""
    p = preprocessing
    last = feeding.layout == "NHWC"
    sizes = (p.height, p.width, p.channels) if last else (p.channels, p.height, p.width)
    (value,) = [item for item in proto.graph.input if item.name == seen.input]
    dimensions = value.type.tensor_type.shape.dim
    for dimension, size in zip(dimensions, ("n", *sizes), strict=True):
        dimension.Clear()
        if isinstance(size, str):
            dimension.dim_param = size
        else:
            dimension.dim_value = size
    batch = seen.shape[0]
    if batch is not None:
        _free_reshapes(onnx, proto, batch)
        for output in proto.graph.output:
            if output.type.tensor_type.shape.dim:
                output.type.tensor_type.shape.dim[0].dim_param = "n"
        del proto.graph.value_info[:]


def _free_reshapes(onnx: Any, proto: Any, batch: int) -> None:
    """Let Reshape keep the first axis (0) where its shape names the fixed batch."""
    shapes = {node.input[1] for node in proto.graph.node if node.op_type == "Reshape"}
    tensors = [item for item in proto.graph.initializer if item.name in shapes]
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.output[0] in shapes:
            tensors += [item.t for item in node.attribute if item.name == "value"]
    for tensor in tensors:
        values = onnx.numpy_helper.to_array(tensor).copy()
        if values.ndim == 1 and len(values) and values[0] == batch:
            values[0] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _end(proto: Any, name: str) -> tuple[str, Any | None]:
    """Return the tensor before a last Softmax or Sigmoid with that node, or the scores and None."""
    writers = {output: node for node in proto.graph.node for output in node.output}
    found = name
    while found in writers and writers[found].op_type in ("Identity", "Dropout"):
        found = writers[found].input[0]
    node = writers.get(found)
    if node is not None and node.op_type in ("Softmax", "Sigmoid"):
        return node.input[0], node
    return name, None


def _ending(last: Any | None, feeding: Feeding, task: Task, single: bool) -> Ending:
    if last is None:
        return feeding.outputs or "logits"
    if (last.op_type == "Sigmoid") != (task == "multi-label" or single):
        raise UsageError(
            f"The model ends in {last.op_type}, which does not fit the task {task}: Softmax shares "
            "out one picture among the classes, Sigmoid judges each class by itself (--task "
            "multi-label), or gives one number for the second of two classes."
        )
    if feeding.outputs == "logits":
        raise UsageError(
            f"The model ends in {last.op_type}, so its outputs are probabilities and not logits. "
            "Leave outputs=logits out."
        )
    return "probabilities"


def _is_single(shape: tuple[int | None, ...]) -> bool:
    """Whether the scores are one number a picture."""
    return len(shape) >= 2 and all(size == 1 for size in shape[1:])


def _front(onnx: Any, graph: Any, seen: Outline, feeding: Feeding) -> list[Any]:
    """Return the nodes from pixels to the model's own input."""
    node, array = onnx.helper.make_node, onnx.numpy_helper.from_array
    nodes = []
    found = IMAGES
    if feeding.channels == "BGR":
        graph.initializer.append(array(np.array([2, 1, 0], np.int64), "bgr"))
        nodes.append(node("Gather", [found, "bgr"], ["reordered"], axis=3))
        found = "reordered"
    if seen.kind != UINT8:
        factor, summand = feeding.scale
        graph.initializer.extend([array(factor, "factor"), array(summand, "summand")])
        nodes += [
            node("Cast", [found], ["floats"], to=onnx.TensorProto.FLOAT),
            node("Mul", ["floats", "factor"], ["scaled"]),
            node("Add", ["scaled", "summand"], ["normal"]),
        ]
        found = "normal"
        if seen.kind != onnx.TensorProto.FLOAT:
            nodes.append(node("Cast", [found], ["narrow"], to=seen.kind))
            found = "narrow"
    if feeding.layout == "NCHW":
        nodes.append(node("Transpose", [found], [PREFIX + seen.input], perm=[0, 3, 1, 2]))
    else:
        nodes.append(node("Identity", [found], [PREFIX + seen.input]))
    return nodes


def _back(
    onnx: Any, graph: Any, raw: str, ending: Ending, task: Task, single: bool
) -> list[Any]:  # fmt: skip
    """Return the nodes from the model's scores to logits (n, classes)."""
    node, array = onnx.helper.make_node, onnx.numpy_helper.from_array
    nodes = [
        node("Cast", [raw], ["scores"], to=onnx.TensorProto.FLOAT),
        node("Flatten", ["scores"], ["rows"], axis=1),
    ]
    found = "rows"
    if ending == "probabilities":
        graph.initializer.append(array(np.float32(LEAST), "least"))
        nodes += [node("Max", [found, "least"], ["held"]), node("Log", ["held"], ["log"])]
        found = "log"
        if single or task == "multi-label":  # logit = log p - log (1 - p)
            graph.initializer.append(array(np.float32(1), "one"))
            nodes += [
                node("Sub", ["one", "rows"], ["others"]),
                node("Max", ["others", "least"], ["others held"]),
                node("Log", ["others held"], ["others log"]),
                node("Sub", [found, "others log"], ["odds"]),
            ]
            found = "odds"
    if single:  # one number is the second class's; the first has the logit 0
        graph.initializer.append(array(np.float32(0), "zero"))
        nodes += [
            node("Mul", [found, "zero"], ["first"]),
            node("Concat", ["first", found], [LOGITS], axis=1),
        ]
    else:
        nodes.append(node("Identity", [found], [LOGITS]))
    return nodes


def _drop_unused(graph: Any, wanted: set[str]) -> None:
    """Drop nodes and weights that no output needs."""
    kept = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input) | _inner_reads(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    weights = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(weights)


def _inner_reads(node: Any) -> set[str]:
    found: set[str] = set()
    for attribute in node.attribute:
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            found |= {name for item in graph.node for name in item.input}
            found |= {output.name for output in graph.output}
            found = found.union(*(_inner_reads(item) for item in graph.node))
    return found
