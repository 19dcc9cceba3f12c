"""Weights in 16 bits: half the file, and what an engine that computes in 16 bits starts from."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clearsight.convert.packages import needed
from clearsight.core.errors import GateError

FEWEST = 32
"""Smaller tensors (shapes, means) stay as they are."""
Half = Literal["fp16", "bf16"]


def with_half_weights(model: bytes, precision: Half) -> bytes:
    """Return the model with its weights in 16 bits, each widened again where it is used.

    Inputs, outputs and operators stay fp32, so every engine runs it; which numbers it computes
    with is the engine's affair (`Engine.open`'s `compute`).

    Args:
        model: an ONNX file.
        precision: "fp16" (more digits) or "bf16" (more range). A tensor that 16 bits cannot hold
            stays as it is.

    Raises:
        GateError: it has no weights to shorten.
    """
    onnx = needed("onnx", "Writing weights in 16 bits")
    proto = onnx.load_from_string(model)
    casts = []
    for tensor in list(proto.graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if values.size < FEWEST or not _fits(values, precision):
            continue
        name = tensor.name
        tensor.CopyFrom(_short(onnx, values, f"{name}/{precision}", precision))
        casts.append(
            onnx.helper.make_node(
                "Cast", [tensor.name], [name], f"{name}/widened", to=onnx.TensorProto.FLOAT
            )
        )
    if not casts:
        raise GateError(
            "The model holds no weights that 16 bits would shorten. Nothing was written."
        )
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    content: bytes = proto.SerializeToString()
    return content


def _fits(values: NDArray[np.float32], precision: Half) -> bool:
    largest = float(np.abs(values).max())
    return bool(np.isfinite(largest)) and (precision == "bf16" or largest <= 65_000)


def _short(onnx: Any, values: NDArray[np.float32], name: str, precision: Half) -> Any:
    if precision == "fp16":
        return onnx.numpy_helper.from_array(values.astype(np.float16), name)
    tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.BFLOAT16)
    tensor.dims.extend(values.shape)
    tensor.raw_data = bfloat16_bits(values).tobytes()
    return tensor


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the upper halves of float32 numbers, rounded to the nearest, ties to even.

    Example:
        >>> hex(int(bfloat16_bits(np.array([1.0], np.float32))[0]))
        '0x3f80'
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype("<u2")
