"""The ONNX standard's operators in torch, as far as a gradient flows through them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clearsight.learn.onnx_moving import (
    MOVING,
    Attributes,
    Inputs,
    Operator,
    given,
    numbers,
    padded,
    whole,
)


def _pads(a: Attributes, sizes: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
    """Return (before, after) of every spatial axis."""
    count = len(kernel)
    strides, dilations = a.get("strides", [1] * count), a.get("dilations", [1] * count)
    auto = a.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        found = []
        for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
            total = max(0, (math.ceil(size / stride) - 1) * stride + (k - 1) * dilation + 1 - size)
            less, more = total // 2, total - total // 2
            found.append((less, more) if auto == "SAME_UPPER" else (more, less))
        return found
    told = a.get("pads", [0] * (2 * count)) if auto == "NOTSET" else [0] * (2 * count)
    return list(zip(told[:count], told[count:], strict=True))


def _conv(a: Attributes, inputs: Inputs) -> Tensor:
    x, weight, bias = inputs[0], inputs[1], given(inputs, 2)
    kernel = list(weight.shape[2:])
    ones = [1] * len(kernel)
    x = padded(x, _pads(a, x.shape[2:], kernel))
    run: Any = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(kernel)]
    strides, dilations = a.get("strides", ones), a.get("dilations", ones)
    found: Tensor = run(x, weight, bias, strides, 0, dilations, a.get("group", 1))
    return found


def _max_pool(a: Attributes, inputs: Inputs) -> Tensor:
    kernel = a["kernel_shape"]
    x = padded(inputs[0], _pads(a, inputs[0].shape[2:], kernel), -math.inf)
    run: Any = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[len(kernel)]
    ones = [1] * len(kernel)
    found: Tensor = run(
        x, kernel, a.get("strides", ones), 0, a.get("dilations", ones), bool(a.get("ceil_mode", 0))
    )
    return found


def _average_pool(a: Attributes, inputs: Inputs) -> Tensor:
    x, kernel = inputs[0], a["kernel_shape"]
    pads = _pads(a, x.shape[2:], kernel)
    run: Any = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[len(kernel)]
    rest = (kernel, a.get("strides", [1] * len(kernel)), 0, bool(a.get("ceil_mode", 0)))
    found: Tensor = run(padded(x, pads), *rest)
    if a.get("count_include_pad", 0) or not any(map(any, pads)):
        return found
    counted: Tensor = run(padded(torch.ones_like(x[:1, :1]), pads), *rest)
    return found / counted


def _gemm(a: Attributes, inputs: Inputs) -> Tensor:
    left = inputs[0].mT if a.get("transA", 0) else inputs[0]
    right = inputs[1].mT if a.get("transB", 0) else inputs[1]
    found: Tensor = a.get("alpha", 1.0) * (left @ right)
    addend = given(inputs, 2)
    return found if addend is None else found + a.get("beta", 1.0) * addend


def _reduce(run: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    def reduced(a: Attributes, inputs: Inputs) -> Tensor:
        x, axes = inputs[0], numbers(a, inputs, "axes", 1)
        if not axes and a.get("noop_with_empty_axes", 0):
            return x  # type: ignore[no-any-return]
        return run(x, axes or list(range(x.ndim)), bool(a.get("keepdims", 1)))

    return reduced


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _clip(a: Attributes, inputs: Inputs) -> Tensor:
    low = a.get("min") if given(inputs, 1) is None else float(inputs[1])
    high = a.get("max") if given(inputs, 2) is None else float(inputs[2])
    return inputs[0] if low is None and high is None else inputs[0].clamp(low, high)  # type: ignore[no-any-return]


def _softmax(run: Callable[[Tensor, int], Tensor]) -> Operator:
    def normalized(a: Attributes, inputs: Inputs) -> Tensor:
        x = inputs[0]
        if a["version"] >= 13:
            return run(x, a.get("axis", -1))
        axis = a.get("axis", 1) % x.ndim  # until version 13 all axes from here on are one
        return run(x.reshape(*x.shape[:axis], -1), -1).reshape(x.shape)

    return normalized


def _div(a: Attributes, inputs: Inputs) -> Tensor:
    left, right = inputs
    if left.is_floating_point() or right.is_floating_point():
        return left / right  # type: ignore[no-any-return]
    return torch.div(left, right, rounding_mode="trunc")


def _layer_norm(a: Attributes, inputs: Inputs) -> Tensor:
    x, weight, bias = inputs[0], inputs[1], given(inputs, 2)
    shape = x.shape[a.get("axis", -1) % x.ndim :]
    bias = None if bias is None else bias.expand(shape)
    return F.layer_norm(x, shape, weight.expand(shape), bias, a.get("epsilon", 1e-5))


def _batch_norm(a: Attributes, inputs: Inputs) -> Tensor:
    x, weight, bias, mean, variance = inputs
    return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, a.get("epsilon", 1e-5))


def _group_norm(a: Attributes, inputs: Inputs) -> Tensor:
    x, weight, bias = inputs
    groups = a["num_groups"]
    if len(weight) == groups:  # version 18: one a group
        weight, bias = (v.repeat_interleave(x.shape[1] // groups) for v in (weight, bias))
    return F.group_norm(x, groups, weight, bias, a.get("epsilon", 1e-5))


def _resize(a: Attributes, inputs: Inputs) -> Tensor:
    x, scales, sizes = inputs[0], given(inputs, 2), given(inputs, 3)
    mode, where = a.get("mode", "nearest"), a.get("coordinate_transformation_mode", "half_pixel")
    if sizes is not None:
        wanted = whole(sizes)[2:]
    else:
        wanted = [int(s * f) for s, f in zip(x.shape, scales.tolist(), strict=True)][2:]
    if mode == "nearest" and where == "asymmetric" and a.get("nearest_mode") == "floor":
        return F.interpolate(x, wanted, mode="nearest")
    if mode in ("linear", "cubic") and where in ("half_pixel", "align_corners"):
        name = "bilinear" if mode == "linear" else "bicubic"
        return F.interpolate(x, wanted, mode=name, align_corners=where == "align_corners")
    raise NotImplementedError(f"Resize {mode} {where}")


def _joined(run: Callable[[Tensor, Tensor], Tensor], mean: bool = False) -> Operator:
    def joined(a: Attributes, inputs: Inputs) -> Tensor:
        found: Tensor = inputs[0]
        for other in inputs[1:]:
            found = run(found, other)
        return found / len(inputs) if mean else found

    return joined


def _one(run: Callable[[Tensor], Tensor]) -> Operator:
    return lambda a, inputs: run(inputs[0])


def _two(run: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda a, inputs: run(inputs[0], inputs[1])


def _gelu(a: Attributes, inputs: Inputs) -> Tensor:
    return F.gelu(inputs[0], approximate=a.get("approximate", "none"))


def _hard_sigmoid(a: Attributes, inputs: Inputs) -> Tensor:
    return (a.get("alpha", 0.2) * inputs[0] + a.get("beta", 0.5)).clamp(0, 1)  # type: ignore[no-any-return]


def _prelu(a: Attributes, inputs: Inputs) -> Tensor:
    return torch.where(inputs[0] < 0, inputs[0] * inputs[1], inputs[0])


def _selu(a: Attributes, inputs: Inputs) -> Tensor:
    alpha = a.get("alpha", 1.6732632423543772)
    return a.get("gamma", 1.0507009873554805) * F.elu(inputs[0], alpha)  # type: ignore[no-any-return]


OPERATORS: dict[str, Operator] = {
    **MOVING,
    "Abs": _one(torch.abs),
    "Add": _two(torch.add),
    "And": _two(torch.logical_and),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Ceil": _one(torch.ceil),
    "Clip": _clip,
    "Conv": _conv,
    "Cos": _one(torch.cos),
    "Div": _div,
    "Einsum": lambda a, inputs: torch.einsum(a["equation"], *inputs),
    "Elu": lambda a, inputs: F.elu(inputs[0], a.get("alpha", 1.0)),
    "Equal": _two(torch.eq),
    "Erf": _one(torch.erf),
    "Exp": _one(torch.exp),
    "Floor": _one(torch.floor),
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _one(lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True)),
    "GlobalMaxPool": _one(lambda x: x.amax(tuple(range(2, x.ndim)), keepdim=True)),
    "Greater": _two(torch.gt),
    "GreaterOrEqual": _two(torch.ge),
    "GroupNormalization": _group_norm,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _one(F.hardswish),
    "InstanceNormalization": lambda a, inputs: F.instance_norm(
        inputs[0], weight=inputs[1], bias=inputs[2], eps=a.get("epsilon", 1e-5)
    ),
    "LRN": lambda a, inputs: F.local_response_norm(
        inputs[0], a["size"], a.get("alpha", 1e-4), a.get("beta", 0.75), a.get("bias", 1.0)
    ),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda a, inputs: F.leaky_relu(inputs[0], a.get("alpha", 0.01)),
    "Less": _two(torch.lt),
    "LessOrEqual": _two(torch.le),
    "Log": _one(torch.log),
    "LogSoftmax": _softmax(torch.log_softmax),
    "LpNormalization": lambda a, inputs: F.normalize(
        inputs[0], a.get("p", 2), a.get("axis", -1), eps=0.0
    ),
    "MatMul": _two(torch.matmul),
    "Max": _joined(torch.maximum),
    "MaxPool": _max_pool,
    "Mean": _joined(torch.add, mean=True),
    "Min": _joined(torch.minimum),
    "Mish": _one(F.mish),
    "Mod": _two(torch.remainder),
    "Mul": _two(torch.mul),
    "Neg": _one(torch.neg),
    "Not": _one(torch.logical_not),
    "Or": _two(torch.logical_or),
    "PRelu": _prelu,
    "Pow": _two(torch.pow),
    "Reciprocal": _one(torch.reciprocal),
    "ReduceL1": _reduce(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduce(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMin": _reduce(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceProd": _reduce(_product),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
    "Relu": _one(torch.relu),
    "Resize": _resize,
    "Round": _one(torch.round),
    "Selu": _selu,
    "Sigmoid": _one(torch.sigmoid),
    "Sign": _one(torch.sign),
    "Sin": _one(torch.sin),
    "Softmax": _softmax(torch.softmax),
    "Softplus": _one(F.softplus),
    "Softsign": _one(F.softsign),
    "Sqrt": _one(torch.sqrt),
    "Sub": _two(torch.sub),
    "Sum": _joined(torch.add),
    "Tanh": _one(torch.tanh),
    "Where": lambda a, inputs: torch.where(inputs[0], inputs[1], inputs[2]),
}
