"""Reads what a model's input and outputs look like, before anything runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clearsight.convert.feeding import Feeding
from clearsight.convert.packages import needed
from clearsight.core.errors import BundleError, UsageError, nearest
from clearsight.engines.onnx_file import OnnxFile

CONTROL = frozenset({"Loop", "Scan", "SequenceMap", "Optional", "OptionalGetElement"})
"""Operators that repeat without a bound that can be seen; recognizers need none."""
UINT8 = 2
"""Number of the element type in ONNX files."""
PURPOSE = "Importing a model"


@dataclass(frozen=True)
class Outline:
    """What the input and the outputs of a model look like.

    Args:
        input: name of the input.
        kind: its ONNX element type.
        shape: (n, ., ., .) as the file declares it; None where it is free.
        outputs: shape by name; None where a size is free.
    """

    input: str
    kind: int
    shape: tuple[int | None, ...]
    outputs: dict[str, tuple[int | None, ...]]


def load(content: bytes) -> Any:
    """Parse an ONNX file; nothing beside it is opened.

    Raises:
        BundleError: it is none, or breaks a rule of `OnnxFile` (external data, custom operators),
            or holds operators that a recognizer does not need.
    """
    onnx = needed("onnx", PURPOSE)
    OnnxFile(content, any_input=True)
    try:
        proto = onnx.load_from_string(content)
    except Exception as error:  # protobuf's own exception types
        raise BundleError(f"The model is not a readable ONNX file ({error}).") from error
    if not proto.graph.node:
        raise BundleError("The model is not a readable ONNX file (it has no operators).")
    used = {node.op_type for graph in (proto.graph, *proto.functions) for node in graph.node}
    if used & CONTROL:
        raise BundleError(
            f"The model uses the operator {sorted(used & CONTROL)[0]}, whose cost has no bound "
            "that can be seen. Export it without loops."
        )
    return proto


def outline(proto: Any) -> Outline:
    """Return the picture input and the outputs.

    Raises:
        BundleError: not exactly one input with four axes.
    """
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [item for item in proto.graph.input if item.name not in weights]
    if len(inputs) != 1:
        raise BundleError(
            f"The model has {len(inputs)} inputs ({', '.join(i.name for i in inputs)[:200]}); it "
            "must have one, the pictures."
        )
    shape = _shape(inputs[0])
    if len(shape) != 4:
        raise BundleError(
            f"The model's input {inputs[0].name!r} has {len(shape)} axes; pictures have four: "
            "(n, channels, height, width) or (n, height, width, channels)."
        )
    kind = inputs[0].type.tensor_type.elem_type
    outputs = {item.name: _shape(item) for item in proto.graph.output}
    return Outline(inputs[0].name, kind, shape, outputs)


def _shape(item: Any) -> tuple[int | None, ...]:
    return tuple(
        dimension.dim_value if dimension.HasField("dim_value") and dimension.dim_value > 0 else None
        for dimension in item.type.tensor_type.shape.dim
    )


def feeding_of(seen: Outline) -> Feeding:
    """Return what the input's shape alone decides: layout, size, channels.

    Raises:
        BundleError: no axis has 1 or 3 channels.
    """
    _, second, third, fourth = seen.shape
    if second in (1, 3) and fourth not in (1, 3):
        layout, count, size = "NCHW", second, (third, fourth)
    elif fourth in (1, 3) and second not in (1, 3):
        layout, count, size = "NHWC", fourth, (second, third)
    elif second in (1, 3) and fourth in (1, 3):
        return Feeding()
    else:
        raise BundleError(
            f"The model's input has the shape {seen.shape}; none of its axes holds 1 or 3 "
            "channels. Other numbers of channels are not served."
        )
    known: dict[str, Any] = {"layout": layout}
    if count == 1:
        known["channels"] = "grey"
    if None not in size:
        known["size"] = size
    return Feeding.parse(known)


def pixels_as_they_are(seen: Outline, known: Feeding) -> Feeding:
    """Return the feeding of a model that takes uint8 pixels: it scales them itself."""
    if seen.kind != UINT8:
        return known
    values = known.model_dump(exclude_unset=True)
    return Feeding.parse({**values, "range": "0-255", "mean": 0.0, "std": 1.0})


def check_channels(seen: Outline, feeding: Feeding) -> None:
    """Refuse a layout, size or colour order that the input's shape contradicts.

    Raises:
        UsageError: they contradict each other, or the layout cannot be told from the shape.
    """
    if feeding.layout is None:
        raise UsageError(
            f"The model's input has the shape {seen.shape}: the channels may be its second or its "
            "last axis. Say it with --preprocess layout=NCHW or layout=NHWC."
        )
    assert feeding.size is not None
    channels = 1 if feeding.channels == "grey" else 3
    height, width = feeding.size
    wanted = (channels, height, width) if feeding.layout == "NCHW" else (height, width, channels)
    for own, said in zip(seen.shape[1:], wanted, strict=True):
        if own not in (None, said):
            raise UsageError(
                f"The model's input has the shape {seen.shape}, which does not fit {feeding.layout}"
                f", {height} x {width} pixels and {channels} channels. Correct --preprocess."
            )


def choose_output(seen: Outline, feeding: Feeding, classes: int) -> str:
    """Return the name of the output that holds the scores.

    Raises:
        UsageError: it cannot be told, or does not exist.
    """
    if feeding.output is not None:
        if feeding.output not in seen.outputs:
            raise UsageError(
                f"The model has no output {feeding.output!r}."
                f"{nearest(feeding.output, seen.outputs)}"
            )
        return feeding.output
    if len(seen.outputs) == 1:
        return next(iter(seen.outputs))
    fitting = [name for name, shape in seen.outputs.items() if shape and shape[-1] == classes]
    if len(fitting) == 1:
        return fitting[0]
    raise UsageError(
        f"The model has {len(seen.outputs)} outputs: {', '.join(seen.outputs)}. Say which holds "
        "the scores with --preprocess output=NAME."
    )
