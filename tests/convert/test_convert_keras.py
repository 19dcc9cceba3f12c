"""Every layer is read as Keras means it: NumPy and ONNX agree, and both agree with Keras itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from clearsight.convert.keras_archive import open_keras
from clearsight.convert.keras_graph import Graph, read_graph
from clearsight.convert.keras_layers import ACTIVATIONS
from clearsight.convert.keras_numpy import run_graph
from clearsight.convert.keras_onnx import graph_to_onnx
from clearsight.core.errors import BundleError
from clearsight.testing.keras_file import convolution, keras_bytes, layer, sequential

LAST = {"data_format": "channels_last"}
KERAS = os.environ.get("CLEARSIGHT_KERAS_PYTHON", "")
"""A Python with Keras 3 and TensorFlow; the project itself needs neither."""


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    noise = np.random.default_rng(0)
    made = {name: noise.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {k: np.abs(v) + 0.5 if k.endswith("positive") else v for k, v in made.items()}


def both(graph: Graph, images: Any) -> tuple[Any, Any]:
    session = onnxruntime.InferenceSession(graph_to_onnx(graph), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": images})
    return run_graph(graph, images), found.reshape(len(images), -1)


def window(**config: Any) -> dict[str, Any]:
    return {"pool_size": [3, 2], "strides": [2, 2], "padding": "valid", **LAST, **config}


CASES: dict[str, tuple[list[Any], dict[str, tuple[int, ...]]]] = {
    "valid": ([convolution(4, 3)], {"conv2d/vars/0": (3, 3, 3, 4), "conv2d/vars/1": (4,)}),
    "same, stride 2": (
        [convolution(4, 3, padding="same", strides=[2, 2])],
        {"conv2d/vars/0": (3, 3, 3, 4), "conv2d/vars/1": (4,)},
    ),
    "even kernel, same": (
        [convolution(4, 4, padding="same", use_bias=False)],
        {"conv2d/vars/0": (4, 4, 3, 4)},
    ),
    "dilated": (
        [convolution(2, 3, padding="same", dilation_rate=[2, 2], use_bias=False)],
        {"conv2d/vars/0": (3, 3, 3, 2)},
    ),
    "groups": (
        [convolution(6, 1, use_bias=False), convolution(4, 3, groups=2, use_bias=False)],
        {"conv2d/vars/0": (1, 1, 3, 6), "conv2d_1/vars/0": (3, 3, 3, 4)},
    ),
    "depthwise": (
        [
            layer(
                "DepthwiseConv2D", kernel_size=[3, 3], strides=[2, 2], padding="same",
                depth_multiplier=2, dilation_rate=[1, 1], use_bias=True, activation="relu", **LAST,
            )
        ],
        {"depthwise_conv2d/vars/0": (3, 3, 3, 2), "depthwise_conv2d/vars/1": (6,)},
    ),
    "separable": (
        [
            layer(
                "SeparableConv2D", filters=5, kernel_size=[3, 3], strides=[1, 1], padding="valid",
                depth_multiplier=1, dilation_rate=[1, 1], use_bias=True, activation="tanh", **LAST,
            )
        ],
        {
            "separable_conv2d/vars/0": (3, 3, 3, 1),
            "separable_conv2d/vars/1": (1, 1, 3, 5),
            "separable_conv2d/vars/2": (5,),
        },
    ),
    "max pooling": ([layer("MaxPooling2D", **window())], {}),
    "max pooling, same": ([layer("MaxPooling2D", **window(padding="same"))], {}),
    "mean pooling, same": ([layer("AveragePooling2D", **window(padding="same"))], {}),
    "global": ([layer("GlobalMaxPooling2D", keepdims=False, **LAST)], {}),
    "global, kept": ([layer("GlobalAveragePooling2D", keepdims=True, **LAST)], {}),
    "normalised": (
        [
            layer("BatchNormalization", axis=-1, epsilon=1e-3, center=True, scale=True),
            layer("Rescaling", scale=[0.5, 1, 2], offset=-1.0),
            layer("Normalization", axis=[-1], mean=None, variance=None, invert=False),
        ],
        {
            "batch_normalization/vars/0": (3,),
            "batch_normalization/vars/1": (3,),
            "batch_normalization/vars/2": (3,),
            "batch_normalization/vars/3 positive": (3,),
            "normalization/vars/0": (3,),
            "normalization/vars/1 positive": (3,),
        },
    ),
    "padded": ([layer("ZeroPadding2D", padding=[[0, 1], [2, 3]], **LAST)], {}),
    "rows": (
        [
            layer("Flatten", **LAST),
            layer("BatchNormalization", axis=1, epsilon=1e-3, center=False, scale=False),
            layer("Dropout", rate=0.5),
            layer("Dense", units=5, activation="relu", use_bias=True),
            layer("Dense", units=4, activation="softmax", use_bias=False),
        ],
        {
            "batch_normalization/vars/0": (147,),
            "batch_normalization/vars/1 positive": (147,),
            "dense/vars/0": (147, 5),
            "dense/vars/1": (5,),
            "dense_1/vars/0": (5, 4),
        },
    ),
    "bounded": (
        [
            layer("ReLU", max_value=1.0, negative_slope=0.1, threshold=0.0),
            layer("LeakyReLU", negative_slope=0.3),
            layer("ELU", alpha=0.7),
        ],
        {},
    ),
    **{
        f"activation {name}": (
            [
                *([layer("Flatten", **LAST)] if "softmax" in name else []),
                layer("Activation", activation=name),
            ],
            {},
        )
        for name in sorted(ACTIVATIONS - {"clip"})
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_numpy_and_onnx_agree(case: str) -> None:
    layers, shapes = CASES[case]
    weights = {f"layers/{k.split()[0]}": v for k, v in drawn(shapes).items()}
    graph = read_graph(sequential(layers, (7, 7, 3)), weights, None)
    images = np.random.default_rng(1).normal(size=(3, 3, 7, 7)).astype(np.float32)
    wanted, got = both(graph, images)
    assert wanted.shape == got.shape
    assert wanted.shape[1] == int(np.prod(graph.output_shape))
    np.testing.assert_allclose(got, wanted, atol=1e-4, rtol=1e-4)


def test_convolution_by_hand() -> None:
    """Same padding at stride 2 pads more after than before, as Keras's TensorFlow does."""
    kernel = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1)
    config = sequential(
        [convolution(1, 3, padding="same", strides=[2, 2], use_bias=False)], (4, 4, 1)
    )
    graph = read_graph(config, {"layers/conv2d/vars/0": kernel}, None)
    image = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    padded = np.pad(image[0, 0], ((0, 1), (0, 1)))
    wanted = [
        (padded[y : y + 3, x : x + 3] * kernel[:, :, 0, 0]).sum() for y in (0, 2) for x in (0, 2)
    ]
    for found in both(graph, image):
        np.testing.assert_allclose(found.reshape(-1), wanted)


def call(*names: str, **kwargs: Any) -> dict[str, Any]:
    tensors = [
        {
            "class_name": "__keras_tensor__",
            "config": {"shape": [None], "dtype": "float32", "keras_history": [name, 0, 0]},
        }
        for name in names
    ]
    return {"args": tensors if len(tensors) == 1 else [tensors], "kwargs": kwargs}


def functional(layers: list[Any], entry: str, exit_: str, name: str = "model") -> dict[str, Any]:
    config = {
        "name": name,
        "layers": layers,
        "input_layers": [[entry, 0, 0]],
        "output_layers": [[exit_, 0, 0]],
    }
    return {"module": "keras", "class_name": "Functional", "config": config}


def block() -> dict[str, Any]:
    """A residual block with squeeze and excitation, its layers out of order."""
    nodes = {
        "conv": (convolution(4, 3, padding="same", name="conv"), call("in", training=False)),
        "pool": (layer("GlobalAveragePooling2D", name="pool", **LAST), call("conv")),
        "shape": (layer("Reshape", name="shape", target_shape=[1, 1, 4]), call("pool")),
        "gate": (convolution(4, 1, name="gate", activation="sigmoid"), call("shape")),
        "times": (layer("Multiply", name="times"), call("conv", "gate")),
        "skip": (convolution(4, 1, name="skip"), call("in")),
        "sum": (layer("Add", name="sum"), call("times", "skip")),
        "join": (layer("Concatenate", name="join", axis=-1), call("sum", "conv")),
    }
    entry = layer("InputLayer", batch_shape=[None, 5, 5, 3], name="in")
    layers = [{**item, "inbound_nodes": [node]} for item, node in nodes.values()]
    return functional([{**entry, "inbound_nodes": []}, *layers], "in", "join", name="block")


def block_weights(prefix: str) -> dict[str, Any]:
    return drawn(
        {
            f"{prefix}layers/conv2d/vars/0": (3, 3, 3, 4),
            f"{prefix}layers/conv2d/vars/1": (4,),
            f"{prefix}layers/conv2d_1/vars/0": (1, 1, 4, 4),
            f"{prefix}layers/conv2d_1/vars/1": (4,),
            f"{prefix}layers/conv2d_2/vars/0": (1, 1, 3, 4),
            f"{prefix}layers/conv2d_2/vars/1": (4,),
        }
    )


def test_functional_models_are_followed() -> None:
    graph = read_graph(block(), block_weights(""), None)
    assert graph.output_shape == (8, 5, 5)
    images = np.random.default_rng(1).normal(size=(2, 3, 5, 5)).astype(np.float32)
    wanted, got = both(graph, images)
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_nested_models_are_followed() -> None:
    """As transfer learning builds them: a whole model as the first layer of another."""
    top = [
        {**block(), "config": {**block()["config"]}},
        layer("GlobalAveragePooling2D", **LAST),
        layer("Dense", units=2, activation="linear", use_bias=False),
    ]
    weights = block_weights("layers/functional/") | drawn({"layers/dense/vars/0": (8, 2)})
    graph = read_graph(sequential(top, (5, 5, 3)), weights, None)
    images = np.random.default_rng(1).normal(size=(2, 3, 5, 5)).astype(np.float32)
    wanted, got = both(graph, images)
    assert wanted.shape == (2, 2)
    np.testing.assert_allclose(got, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ([layer("Conv3D")], "Conv2D|not read"),
        ([layer("Activation", activation="rleu")], "relu"),
        ([convolution(2, 3, data_format="channels_first")], "channels_first"),
        ([layer("Dense", units=3, use_bias=True)], "Flatten"),
        ([{**layer("Dense"), "class_name": "Mine"}], "not read"),
        ([{**layer("Flatten"), "registered_name": "mine>Flatten"}], "not read"),
        ([layer("MaxPooling2D", **window(pool_size=[9, 9]))], "does not fit"),
        ([convolution(2, 3)], "lacks the weights"),
    ],
)
def test_what_is_not_read_is_named(layers: list[Any], told: str) -> None:
    with pytest.raises(BundleError, match=told):
        read_graph(sequential(layers, (7, 7, 3)), {}, None)


def test_layers_that_wait_for_one_another_are_refused() -> None:
    entry = {**layer("InputLayer", batch_shape=[None, 5, 5, 3], name="in"), "inbound_nodes": []}
    one = {**layer("Add", name="a"), "inbound_nodes": [call("in", "b")]}
    other = {**layer("Add", name="b"), "inbound_nodes": [call("in", "a")]}
    with pytest.raises(BundleError, match="wait for one another"):
        read_graph(functional([entry, one, other], "in", "b"), {}, None)


def test_free_sizes_are_asked_for() -> None:
    config = sequential([layer("GlobalAveragePooling2D", **LAST)], (None, None, 3))  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="size=HxW"):
        read_graph(config, {}, None)
    assert read_graph(config, {}, (9, 5)).input_shape == (3, 9, 5)


def test_weights_come_out_as_they_went_in() -> None:
    weights = drawn({"layers/dense/vars/0": (3, 4), "a/b/c/d": (2,)})
    file = open_keras(keras_bytes(sequential([], (4, 4, 3)), weights))
    assert file.version == "3.0.0"
    assert set(file.weights) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(file.weights[name], array)


MADE_BY_KERAS = """
import sys
import keras, numpy as np
layers = keras.layers
keras.utils.set_random_seed(0)
def textbook():
    return keras.Sequential([
        keras.Input((28, 28, 1)), layers.Rescaling(1 / 255),
        layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Flatten(), layers.Dropout(0.5), layers.Dense(64, activation="relu"),
        layers.Dense(10, activation="softmax")])
def transfer():
    base = keras.applications.MobileNetV2(input_shape=(96, 96, 3), include_top=False, weights=None)
    return keras.Sequential([
        keras.Input((96, 96, 3)), layers.RandomFlip(), layers.Rescaling(1 / 127.5, -1), base,
        layers.GlobalAveragePooling2D(), layers.Dense(5)])
def resnet():
    return keras.applications.ResNet50(input_shape=(64, 64, 3), classes=4, weights=None)
def efficient():
    return keras.applications.EfficientNetB0(input_shape=(64, 64, 3), classes=4, weights=None)
def xception():
    return keras.applications.Xception(input_shape=(75, 75, 3), classes=4, weights=None)
def mobile3():
    return keras.applications.MobileNetV3Small(input_shape=(64, 64, 3), classes=4, weights=None)
def dense_net():
    return keras.applications.DenseNet121(input_shape=(64, 64, 3), classes=4, weights=None)
name, out = sys.argv[1:]
model = globals()[name]()
for weight in model.weights:  # batch statistics and biases as training leaves them
    value = np.asarray(weight)
    if value.dtype == np.float32 and value.ndim == 1 and "seed" not in weight.path:
        noise = np.random.default_rng(len(value)).normal(0, 0.1, value.shape)
        weight.assign(value + np.abs(noise) if "variance" in weight.path else value + noise)
model.save(out + ".keras")
shape = (4, *model.input_shape[1:])
images = np.random.default_rng(0).integers(0, 256, shape).astype("float32")
np.savez(out + ".npz", images=images, scores=model.predict(images, verbose=0))
"""


@pytest.mark.slow
@pytest.mark.skipif(not KERAS, reason="CLEARSIGHT_KERAS_PYTHON names no Python with Keras 3")
@pytest.mark.parametrize(
    "name", ["textbook", "transfer", "resnet", "efficient", "xception", "mobile3", "dense_net"]
)
def test_keras_itself_gives_the_same(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    subprocess.run([KERAS, "-c", MADE_BY_KERAS, name, str(out)], check=True, capture_output=True)
    file = open_keras(out.with_suffix(".keras").read_bytes())
    assert json.dumps(file.config)
    graph = read_graph(file.config, file.weights, None)
    found = np.load(out.with_suffix(".npz"))
    images = np.ascontiguousarray(found["images"].transpose(0, 3, 1, 2))
    for got in both(graph, images):
        np.testing.assert_allclose(got, found["scores"], atol=2e-4, rtol=1e-3)
