"""ONNX operators that move, cut and join numbers without changing them, in torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Attributes = Mapping[str, Any]
Inputs = Sequence[Any]
"""Tensors; None stands for an optional input that is left out."""
Operator = Callable[[Attributes, Inputs], Any]

TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float32,
    11: torch.float64,
}
"""torch types by ONNX's number; half precision (10) is computed in single."""


def given(inputs: Inputs, number: int) -> Any:
    """Return an input, None where it is left out."""
    return inputs[number] if number < len(inputs) else None


def whole(value: Any) -> list[int]:
    """Return the numbers of an int64 tensor, or of a list."""
    return [
        int(item) for item in (value.reshape(-1).tolist() if hasattr(value, "tolist") else value)
    ]


def numbers(a: Attributes, inputs: Inputs, name: str, number: int) -> list[int] | None:
    """Return what newer versions give as an input and older ones as an attribute."""
    told = given(inputs, number)
    if told is None:
        told = a.get(name)
    return None if told is None else whole(told)


def padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """Return x with its last axes padded."""
    if not any(before or after for before, after in pads):
        return x
    flat = [size for pair in reversed(list(pads)) for size in pair]
    return F.pad(x, flat, value=value)


def _reshape(a: Attributes, inputs: Inputs) -> Tensor:
    x, sizes = inputs[0], numbers(a, inputs, "shape", 1) or []
    if not a.get("allowzero", 0):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)  # type: ignore[no-any-return]


def _flatten(a: Attributes, inputs: Inputs) -> Tensor:
    x, axis = inputs[0], a.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)  # type: ignore[no-any-return]


def _squeeze(a: Attributes, inputs: Inputs) -> Tensor:
    x, axes = inputs[0], numbers(a, inputs, "axes", 1)
    if axes is None:
        return x.squeeze()  # type: ignore[no-any-return]
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.squeeze(axis)
    return x  # type: ignore[no-any-return]


def _unsqueeze(a: Attributes, inputs: Inputs) -> Tensor:
    x, axes = inputs[0], numbers(a, inputs, "axes", 1) or []
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x  # type: ignore[no-any-return]


def _transpose(a: Attributes, inputs: Inputs) -> Tensor:
    x = inputs[0]
    return x.permute(a.get("perm", list(range(x.ndim))[::-1]))  # type: ignore[no-any-return]


def _slice(a: Attributes, inputs: Inputs) -> Tensor:
    x = inputs[0]
    starts, ends = numbers(a, inputs, "starts", 1) or [], numbers(a, inputs, "ends", 2) or []
    axes = numbers(a, inputs, "axes", 3) or list(range(len(starts)))
    steps = numbers(a, inputs, "steps", 4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[axis]
        chosen = range(*slice(start, _end(end, size, step), step).indices(size))
        if chosen == range(size)[::-1]:
            x = x.flip(axis)
        elif step == 1:
            x = x.narrow(axis, chosen.start, len(chosen))
        else:
            x = x.index_select(axis, torch.tensor(chosen, dtype=torch.int64))
    return x  # type: ignore[no-any-return]


def _end(end: int, size: int, step: int) -> int | None:
    """Return Python's word for an end that lies before the first element."""
    return None if step < 0 and end + size < 0 else end


def _gather(a: Attributes, inputs: Inputs) -> Tensor:
    x, at, axis = inputs[0], inputs[1].to(torch.int64), a.get("axis", 0) % inputs[0].ndim
    at = torch.where(at < 0, at + x.shape[axis], at)
    if at.ndim == 0:
        return x.select(axis, int(at))  # type: ignore[no-any-return]
    found = x.index_select(axis, at.reshape(-1))
    return found.reshape(*x.shape[:axis], *at.shape, *x.shape[axis + 1 :])  # type: ignore[no-any-return]


def _split(a: Attributes, inputs: Inputs) -> tuple[Tensor, ...]:
    x, axis = inputs[0], a.get("axis", 0)
    sizes = numbers(a, inputs, "split", 1)
    if sizes is None:
        each = math.ceil(x.shape[axis] / a["outputs"])
        return x.split(each, axis)  # type: ignore[no-any-return]
    return x.split(sizes, axis)  # type: ignore[no-any-return]


def _pad(a: Attributes, inputs: Inputs) -> Tensor:
    x, pads = inputs[0], numbers(a, inputs, "pads", 1) or []
    axes = numbers({}, inputs, "axes", 3) or list(range(x.ndim))
    mode, half = a.get("mode", "constant"), len(pads) // 2
    pairs = [(0, 0)] * x.ndim
    for axis, before, after in zip(axes, pads[:half], pads[half:], strict=True):
        pairs[axis] = (before, after)
    if mode == "constant":
        value = given(inputs, 2)
        return padded(x, pairs, float(a.get("value", 0.0) if value is None else value))
    for axis, (before, after) in enumerate(pairs):
        if before or after:
            at = torch.arange(-before, x.shape[axis] + after)
            last = x.shape[axis] - 1
            if mode == "reflect":
                at = last - (last - at.abs()).abs()
            x = x.index_select(axis, at.clamp(0, last))
    return x  # type: ignore[no-any-return]


def _cast(a: Attributes, inputs: Inputs) -> Tensor:
    return inputs[0].to(TYPES[a["to"]])  # type: ignore[no-any-return]


def _depth_to_space(a: Attributes, inputs: Inputs) -> Tensor:
    x, b = inputs[0], a["blocksize"]
    n, c, h, w = x.shape
    if a.get("mode", "DCR") == "DCR":
        x = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, c // b**2, h * b, w * b)  # type: ignore[no-any-return]


def _shape(a: Attributes, inputs: Inputs) -> Tensor:
    return torch.tensor(inputs[0].shape[a.get("start", 0) : a.get("end")], dtype=torch.int64)


def _expand(a: Attributes, inputs: Inputs) -> Tensor:
    x, sizes = inputs[0], whole(inputs[1])
    shape: Any = torch.broadcast_shapes(x.shape, tuple(sizes))  # type: ignore[no-untyped-call]
    return x.expand(shape)  # type: ignore[no-any-return]


def _filled(a: Attributes, inputs: Inputs) -> Tensor:
    value = a.get("value", torch.zeros(1))
    return torch.full(whole(inputs[0]), value.item(), dtype=value.dtype)


MOVING: dict[str, Operator] = {
    "Cast": _cast,
    "Concat": lambda a, inputs: torch.cat(list(inputs), a["axis"]),
    "ConstantOfShape": _filled,
    "DepthToSpace": _depth_to_space,
    "Dropout": lambda a, inputs: inputs[0],
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": lambda a, inputs: inputs[0],
    "Pad": _pad,
    "Range": lambda a, inputs: torch.arange(*(item.item() for item in inputs)),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": lambda a, inputs: inputs[0].repeat(whole(inputs[1])),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
