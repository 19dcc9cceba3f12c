"""Works out a Keras model's steps in NumPy, picture by picture: the witness of its ONNX form."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from clearsight.convert.keras_graph import INPUT, Graph

Floats = NDArray[np.float32]
Values = Mapping[str, Any]
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def run_graph(graph: Graph, images_nchw: Floats) -> Floats:
    """Return the scores (n, k) of pictures (n, c, h, w), fed as the model expects."""
    rows = []
    for picture in images_nchw:
        tensors: dict[str, Floats] = {INPUT: picture}
        for step in graph.steps:
            given = [tensors[name] for name in step.reads]
            tensors[step.name] = KINDS[step.kind](step.values, *given).astype(np.float32)
        rows.append(tensors[graph.output].reshape(-1))
    return np.stack(rows)


def _padded(x: Floats, pads: tuple[int, int, int, int], value: float = 0.0) -> Floats:
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=value)


def _windows(x: Floats, reach: tuple[int, int], strides: tuple[int, int]) -> Floats:
    """Return windows (c, out h, out w, reach h, reach w)."""
    found = sliding_window_view(x, reach, axis=(1, 2))
    return found[:, :: strides[0], :: strides[1]]


def convolution(values: Values, x: Floats) -> Floats:
    """Slide a kernel (out, in a group, h, w) over a picture (c, h, w)."""
    kernel, groups, spread = values["kernel"], values["groups"], values["dilation"]
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel.shape[2:], spread, strict=True))
    windows = _windows(_padded(x, values["pads"]), (reach[0], reach[1]), values["strides"])
    windows = windows[..., :: spread[0], :: spread[1]]
    inner, outer = x.shape[0] // groups, kernel.shape[0] // groups
    parts = []
    for group in range(groups):
        seen = windows[group * inner : (group + 1) * inner]
        own = kernel[group * outer : (group + 1) * outer]
        parts.append(np.tensordot(own, seen, axes=([1, 2, 3], [0, 3, 4])))
    found: Floats = np.concatenate(parts) + values["bias"][:, None, None]
    return found


def dense(values: Values, x: Floats) -> Floats:
    """Multiply a row with a matrix."""
    product: Floats = x @ values["kernel"] + values["bias"]
    return product


def max_pool(values: Values, x: Floats) -> Floats:
    """Take the largest value of each window."""
    padded = _padded(x, values["pads"], -np.inf)
    found: Floats = _windows(padded, values["size"], values["strides"]).max(axis=(3, 4))
    return found


def mean_pool(values: Values, x: Floats) -> Floats:
    """Take the mean of each window; padding does not count."""
    total, count = (
        _windows(_padded(item, values["pads"]), values["size"], values["strides"]).sum(axis=(3, 4))
        for item in (x, np.ones_like(x))
    )
    found: Floats = total / count
    return found


def _over_picture(reduce: Any) -> Callable[[Values, Floats], Floats]:
    def run(values: Values, x: Floats) -> Floats:
        found: Floats = reduce(x, axis=(1, 2), keepdims=values["keep"])
        return found

    return run


def affine(values: Values, x: Floats) -> Floats:
    """Scale and shift each channel."""
    shape = (-1,) + (1,) * (x.ndim - 1)
    scaled: Floats = x * values["factor"].reshape(shape) + values["summand"].reshape(shape)
    return scaled


def flatten(values: Values, x: Floats) -> Floats:
    """Lay the pixels in a row, the channels of each side by side."""
    return (x.transpose(1, 2, 0) if x.ndim == 3 else x).reshape(-1)


def picture(values: Values, x: Floats) -> Floats:
    """Make a picture (c, h, w) of a row that holds (h, w, c)."""
    return x.reshape(values["shape"]).transpose(2, 0, 1)


def activation(values: Values, x: Floats) -> Floats:
    """Bend every value, or share one out among the classes."""
    found: Floats = ACTIVATIONS[values["name"]](x.astype(np.float64), values)
    return found


def _sigmoid(x: Any) -> Any:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _softmax(x: Any) -> Any:
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def _elu(x: Any, slope: float) -> Any:
    return np.where(x > 0, x, slope * np.expm1(np.minimum(x, 0)))


_erf = np.vectorize(math.erf, otypes=[np.float64])
ACTIVATIONS: dict[str, Callable[[Any, Values], Any]] = {
    "relu": lambda x, v: np.maximum(x, 0),
    "relu6": lambda x, v: np.clip(x, 0, 6),
    "clip": lambda x, v: np.clip(x, v["low"], v["high"]),
    "leaky_relu": lambda x, v: np.where(x > 0, x, v["slope"] * x),
    "elu": lambda x, v: _elu(x, v["slope"]),
    "selu": lambda x, v: SELU_SCALE * _elu(x, SELU_ALPHA),
    "gelu": lambda x, v: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "silu": lambda x, v: x * _sigmoid(x),
    "swish": lambda x, v: x * _sigmoid(x),
    "tanh": lambda x, v: np.tanh(x),
    "sigmoid": lambda x, v: _sigmoid(x),
    "hard_sigmoid": lambda x, v: np.clip(x / 6 + 0.5, 0, 1),
    "hard_silu": lambda x, v: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_swish": lambda x, v: x * np.clip(x / 6 + 0.5, 0, 1),
    "softplus": lambda x, v: np.logaddexp(x, 0),
    "softsign": lambda x, v: x / (1 + np.abs(x)),
    "exponential": lambda x, v: np.exp(x),
    "mish": lambda x, v: x * np.tanh(np.logaddexp(x, 0)),
    "softmax": lambda x, v: _softmax(x),
    "log_softmax": lambda x, v: x - x.max() - np.log(np.exp(x - x.max()).sum()),
}

KINDS: dict[str, Callable[..., Floats]] = {
    "convolution": convolution,
    "dense": dense,
    "max-pool": max_pool,
    "mean-pool": mean_pool,
    "global-mean": _over_picture(np.mean),
    "global-max": _over_picture(np.max),
    "affine": affine,
    "pad": lambda values, x: _padded(x, values["pads"]),
    "flatten": flatten,
    "picture": picture,
    "add": lambda values, *given: sum(given[1:], given[0]),
    "multiply": lambda values, *given: np.prod(np.broadcast_arrays(*given), axis=0),
    "maximum": lambda values, *given: np.max(np.broadcast_arrays(*given), axis=0),
    "average": lambda values, *given: sum(given[1:], given[0]) / len(given),
    "concatenate": lambda values, *given: np.concatenate(given),
    "activation": activation,
}
"""Every kind of step."""
