"""What each kind of Keras layer computes, as plain steps. To read one more kind, add a function.

Source: the Keras 3 documentation of each layer (https://keras.io/api/layers/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import BundleError, nearest

Config = Mapping[str, Any]
Shape = tuple[int, ...]
Weights = Mapping[str, NDArray[np.float32]]


class Own(Protocol):
    """The weights of one layer."""

    def __call__(self, number: int, shape: Shape) -> NDArray[np.float32]:
        """Return weight `number`, which must have this shape."""


@dataclass(frozen=True)
class Step:
    """One computation.

    Args:
        kind: see `keras_numpy.KINDS`.
        values: its numbers and arrays.
        reads: names of the tensors it takes.
        name: of the tensor it gives.
    """

    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    name: str = ""

    def between(self, reads: Sequence[str], name: str) -> Step:
        """Return the same step with its place in the graph."""
        return replace(self, reads=tuple(reads), name=name)


Made = list[tuple[Step, Shape]]
Make = Callable[[Config, Own, Sequence[Shape]], Made]

NOTHING = frozenset(
    {
        "InputLayer", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianDropout",
        "GaussianNoise", "AlphaDropout", "ActivityRegularization", "Identity", "RandomFlip",
        "RandomRotation", "RandomZoom", "RandomContrast", "RandomBrightness", "RandomTranslation",
        "RandomHue", "RandomSaturation", "RandomErasing", "RandomSharpness", "RandomShear",
        "RandomColorJitter", "RandomGaussianBlur", "RandomInvert", "RandomPosterization",
    }
)  # fmt: skip
"""Layers that leave pictures as they are once training is over."""
ACTIVATIONS = frozenset(
    {
        "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "swish", "tanh", "sigmoid",
        "hard_sigmoid", "hard_silu", "hard_swish", "softplus", "softsign", "softmax",
        "log_softmax", "exponential", "mish", "clip",
    }
)  # fmt: skip


def _pair(value: Any) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    if not all(isinstance(item, int) and 0 < item <= 4096 for item in (first, second)):
        raise BundleError(f"A layer has the size or stride {value!r}.")
    return first, second


def _channels_last(config: Config) -> None:
    if config.get("data_format") not in (None, "channels_last"):
        raise BundleError("Layers with data_format 'channels_first' are not read. Export as ONNX.")


def _window(
    config: Config, shape: Shape, size: tuple[int, int], strides: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> tuple[tuple[int, int, int, int], tuple[int, int]]:  # fmt: skip
    """Return padding (top, left, bottom, right) and output (h, w) of a sliding window."""
    before, after, sides = [], [], []
    for side, window, step, spread in zip(shape[1:], size, strides, dilation, strict=True):
        reach = (window - 1) * spread + 1
        if config["padding"] == "same":
            out = -(-side // step)
            total = max(0, (out - 1) * step + reach - side)
        elif config["padding"] == "valid":
            out, total = (side - reach) // step + 1, 0
        else:
            raise BundleError(f"A layer has the padding {config['padding']!r}.")
        if out < 1:
            raise BundleError(f"A window of {window} does not fit into {side} pixels.")
        before.append(total // 2)
        after.append(total - total // 2)
        sides.append(out)
    return (before[0], before[1], after[0], after[1]), (sides[0], sides[1])


def _convolution(
    config: Config, shape: Shape, kernel: NDArray[np.float32], bias: Any, groups: int
) -> tuple[Step, Shape]:
    """Return a convolution with a kernel (out, in a group, h, w)."""
    strides, dilation = _pair(config["strides"]), _pair(config.get("dilation_rate", 1))
    size = (kernel.shape[2], kernel.shape[3])
    pads, sides = _window(config, shape, size, strides, dilation)
    values = {
        "kernel": np.ascontiguousarray(kernel),
        "bias": np.zeros(kernel.shape[0], np.float32) if bias is None else bias,
        "strides": strides,
        "dilation": dilation,
        "pads": pads,
        "groups": groups,
    }
    return Step("convolution", values), (kernel.shape[0], *sides)


def conv2d(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
    """Read Conv2D."""
    _channels_last(config)
    (shape,) = shapes
    filters, groups = int(config["filters"]), int(config.get("groups") or 1)
    kernel = own(0, (*_pair(config["kernel_size"]), shape[0] // groups, filters))
    bias = own(1, (filters,)) if config["use_bias"] else None
    made = _convolution(config, shape, kernel.transpose(3, 2, 0, 1), bias, groups)
    return _activated([made], config)


def depthwise_conv2d(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
    """Read DepthwiseConv2D."""
    _channels_last(config)
    (shape,) = shapes
    made = _depthwise(config, shape, own, 0)
    bias = own(1, (made[1][0],)) if config["use_bias"] else None
    return _activated([_with_bias(made, bias)], config)


def separable_conv2d(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
    """Read SeparableConv2D: each channel by itself, then a mix of them."""
    _channels_last(config)
    (shape,) = shapes
    depth = _depthwise(config, shape, own, 0)
    filters, inner = int(config["filters"]), depth[1][0]
    kernel = own(1, (1, 1, inner, filters)).transpose(3, 2, 0, 1)
    bias = own(2, (filters,)) if config["use_bias"] else None
    plain = {"strides": 1, "padding": "valid"}
    return _activated([depth, _convolution(plain, depth[1], kernel, bias, 1)], config)


def _depthwise(config: Config, shape: Shape, own: Own, number: int) -> tuple[Step, Shape]:
    count = int(config.get("depth_multiplier", 1))
    size = _pair(config["kernel_size"])
    kernel = own(number, (*size, shape[0], count))
    turned = kernel.transpose(2, 3, 0, 1).reshape(shape[0] * count, 1, *size)
    return _convolution(config, shape, turned, None, shape[0])


def _with_bias(made: tuple[Step, Shape], bias: Any) -> tuple[Step, Shape]:
    step, shape = made
    if bias is None:
        return made
    return replace(step, values={**step.values, "bias": bias}), shape


def dense(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
    """Read Dense on rows."""
    (shape,) = shapes
    if len(shape) != 1:
        raise BundleError("A Dense layer on pictures is not read; put a Flatten or pooling before.")
    units = int(config["units"])
    kernel = own(0, (shape[0], units))
    bias = own(1, (units,)) if config["use_bias"] else np.zeros(units, np.float32)
    return _activated([(Step("dense", {"kernel": kernel, "bias": bias}), (units,))], config)


def _pooling(kind: str) -> Make:
    def make(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
        _channels_last(config)
        (shape,) = shapes
        size = _pair(config["pool_size"])
        strides = _pair(config["strides"] or config["pool_size"])
        pads, sides = _window(config, shape, size, strides)
        values = {"size": size, "strides": strides, "pads": pads}
        return [(Step(kind, values), (shape[0], *sides))]

    return make


def _global(kind: str) -> Make:
    def make(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
        _channels_last(config)
        (shape,) = shapes
        keep = bool(config.get("keepdims"))
        return [(Step(kind, {"keep": keep}), (shape[0], 1, 1) if keep else (shape[0],))]

    return make


def flatten(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
    """Read Flatten: row by row, the channels of a pixel side by side."""
    _channels_last(config)
    (shape,) = shapes
    return [(Step("flatten", {"rank": len(shape)}), (int(np.prod(shape)),))]


def reshape(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
    """Read Reshape of a row to (h, w, c), as squeeze-and-excitation blocks do, or to a row."""
    (shape,) = shapes
    target = [int(side) for side in config["target_shape"]]
    total = int(np.prod(shape))
    if target.count(-1) == 1:
        target[target.index(-1)] = total // max(1, -int(np.prod(target)))
    if int(np.prod(target)) != total or len(target) not in (1, 3):
        raise BundleError(f"Reshape of {shape} to {config['target_shape']} is not read.")
    rows: Made = [(Step("flatten", {"rank": 3}), (total,))] if len(shape) == 3 else []
    if len(target) == 1:
        return rows
    height, width, channels = target
    out = (channels, height, width)
    return [*rows, (Step("picture", {"shape": (height, width, channels)}), out)]


def batch_normalization(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
    """Read BatchNormalization over the channels."""
    (shape,) = shapes
    axis = config["axis"]
    axis = axis[0] if isinstance(axis, list) else axis
    if axis not in (-1, len(shape)):
        raise BundleError(f"BatchNormalization over the axis {axis} is not read.")
    count, number = shape[0], 0
    gamma, beta = np.ones(count, np.float32), np.zeros(count, np.float32)
    if config["scale"]:
        gamma, number = own(number, (count,)), number + 1
    if config["center"]:
        beta, number = own(number, (count,)), number + 1
    mean, variance = own(number, (count,)), own(number + 1, (count,))
    factor = gamma / np.sqrt(variance + np.float32(config["epsilon"]))
    return [(_affine(factor, beta - mean * factor, shape), shape)]


def _affine(factor: NDArray[np.float32], summand: NDArray[np.float32], shape: Shape) -> Step:
    return Step("affine", {"factor": factor, "summand": summand, "rank": len(shape)})


def by_number(kind: str, number: float, shape: Shape) -> Step:
    """Return the step of adding or multiplying one plain number."""
    ones, zeros = np.ones(shape[0], np.float32), np.zeros(shape[0], np.float32)
    value = np.full(shape[0], number, np.float32)
    return _affine(ones, value, shape) if kind == "Add" else _affine(value, zeros, shape)


def rescaling(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
    """Read Rescaling: x * scale + offset."""
    (shape,) = shapes
    factor, summand = (
        np.broadcast_to(np.asarray(config[key], np.float32), (shape[0],)).copy()
        for key in ("scale", "offset")
    )
    return [(_affine(factor, summand, shape), shape)]


def normalization(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
    """Read Normalization: (x - mean) / standard deviation, given or adapted."""
    (shape,) = shapes
    if config.get("invert"):
        raise BundleError("An inverted Normalization is not read.")
    if config.get("mean") is not None:
        mean, variance = (
            np.broadcast_to(np.asarray(config[key], np.float32).reshape(-1), (shape[0],))
            for key in ("mean", "variance")
        )
    else:
        mean, variance = own(0, (shape[0],)), own(1, (shape[0],))
    factor = np.asarray(1 / np.maximum(np.sqrt(variance), 1e-7), np.float32)
    return [(_affine(factor, np.asarray(-mean * factor, np.float32), shape), shape)]


def zero_padding2d(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
    """Read ZeroPadding2D."""
    _channels_last(config)
    (shape,) = shapes
    padding = config["padding"]
    rows, columns = (padding, padding) if isinstance(padding, int) else padding
    (top, bottom), (left, right) = ((p, p) if isinstance(p, int) else p for p in (rows, columns))
    if not all(0 <= int(side) <= 4096 for side in (top, bottom, left, right)):
        raise BundleError(f"ZeroPadding2D by {padding!r} is not read.")
    sides = (shape[1] + top + bottom, shape[2] + left + right)
    return [(Step("pad", {"pads": (top, left, bottom, right)}), (shape[0], *sides))]


def _merge(kind: str) -> Make:
    def make(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
        if len({len(shape) for shape in shapes}) != 1 or len(shapes) < 2:
            raise BundleError(f"A layer joins tensors of the shapes {list(shapes)}.")
        return [(Step(kind), tuple(int(side) for side in np.broadcast_shapes(*shapes)))]

    return make


def concatenate(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
    """Read Concatenate of channels."""
    if config.get("axis", -1) not in (-1, len(shapes[0])):
        raise BundleError(f"Concatenate over the axis {config['axis']} is not read.")
    if len({shape[1:] for shape in shapes}) != 1:
        raise BundleError(f"A layer joins tensors of the shapes {list(shapes)}.")
    return [(Step("concatenate"), (sum(shape[0] for shape in shapes), *shapes[0][1:]))]


def activation(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
    """Read Activation."""
    return _activated([], config, shapes[0])


def relu(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
    """Read ReLU with a bound or a slope."""
    if config.get("threshold"):
        raise BundleError("A ReLU with a threshold is not read.")
    slope = float(config.get("negative_slope") or 0)
    limit = config.get("max_value")
    made: Made = [(_active("leaky_relu" if slope else "relu", slope=slope), shapes[0])]
    if limit is not None:
        lowest = float(np.finfo(np.float32).min)
        made.append((_active("clip", low=lowest, high=float(limit)), shapes[0]))
    return made


def _sloped(name: str, default: float) -> Make:
    def make(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
        slope = config.get("negative_slope", config.get("alpha", default))
        return [(_active(name, slope=float(slope)), shapes[0])]

    return make


def softmax(config: Config, own: Own, shapes: Sequence[Shape]) -> Made:
    """Read Softmax over classes."""
    if config.get("axis", -1) not in (-1, 1) or len(shapes[0]) != 1:
        raise BundleError("A Softmax over anything but the classes is not read.")
    return [(_active("softmax"), shapes[0])]


def _active(name: str, **values: float) -> Step:
    return Step("activation", {"name": name, **values})


DEFAULTS: dict[str, dict[str, float]] = {"leaky_relu": {"slope": 0.2}, "elu": {"slope": 1.0}}


def _activated(made: Made, config: Config, shape: Shape | None = None) -> Made:
    """Add the activation that a layer's description names."""
    name = config.get("activation")
    if isinstance(name, dict):
        name = name.get("config") if isinstance(name.get("config"), str) else name.get("class_name")
    if name in (None, "linear"):
        return made
    if name not in ACTIVATIONS - {"clip"}:
        raise BundleError(
            f"The activation {name!r} is not read.{nearest(str(name), ACTIVATIONS - {'clip'})}"
        )
    out = made[-1][1] if shape is None else shape
    if name in ("softmax", "log_softmax") and len(out) != 1:
        raise BundleError("A softmax over anything but the classes is not read.")
    return [*made, (_active(name, **DEFAULTS.get(name, {})), out)]


LAYERS: dict[str, Make] = {
    "Conv2D": conv2d,
    "DepthwiseConv2D": depthwise_conv2d,
    "SeparableConv2D": separable_conv2d,
    "Dense": dense,
    "MaxPooling2D": _pooling("max-pool"),
    "AveragePooling2D": _pooling("mean-pool"),
    "GlobalAveragePooling2D": _global("global-mean"),
    "GlobalMaxPooling2D": _global("global-max"),
    "Flatten": flatten,
    "Reshape": reshape,
    "BatchNormalization": batch_normalization,
    "Rescaling": rescaling,
    "Normalization": normalization,
    "ZeroPadding2D": zero_padding2d,
    "Add": _merge("add"),
    "Multiply": _merge("multiply"),
    "Maximum": _merge("maximum"),
    "Average": _merge("average"),
    "Concatenate": concatenate,
    "Activation": activation,
    "ReLU": relu,
    "LeakyReLU": _sloped("leaky_relu", 0.3),
    "ELU": _sloped("elu", 1.0),
    "Softmax": softmax,
}
