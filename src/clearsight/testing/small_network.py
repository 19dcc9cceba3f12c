"""A tiny network as ONNX bytes and, worked out apart from any engine, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImagesNHWC
from clearsight.core.seeds import generator

SIZE, CHANNELS, WIDTH, CLASSES = 8, 3, 6, 4
OUTPUTS = ("logits", "embedding", "features")
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SmallNetwork:
    """Normalise, 3x3 convolution, activation, global average, linear layer.

    Args:
        mean, scale: (picture - mean) / scale.
        activation: ONNX operator after the convolution: "Clip" is ReLU6.
        colours: order in which the three channels are read.
        classes: order of the score columns.
        bias: added to every score; NaN makes a broken model.
        seed: of the weights.
    """

    mean: float = 127.0
    scale: float = 128.0
    activation: str = "Clip"
    colours: tuple[int, ...] = (0, 1, 2)
    classes: tuple[int, ...] = tuple(range(CLASSES))
    bias: float = 0.0
    seed: int = 0
    _weights: dict[str, Floats] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Draw the weights."""
        noise = generator(self.seed, "small-network")
        shapes = {
            "kernel": (WIDTH, CHANNELS, 3, 3),
            "shift": (WIDTH,),
            "matrix": (WIDTH, CLASSES),
        }
        weights = {
            name: noise.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()
        }
        weights["matrix"] = weights["matrix"][:, list(self.classes)] * 2
        object.__setattr__(self, "_weights", weights)

    @property
    def weights(self) -> dict[str, Floats]:
        """kernel (6, 3, 3, 3), shift (6,) and matrix (6, 4)."""
        return dict(self._weights)

    def but(self, **changes: Any) -> SmallNetwork:
        """Return the same network with something changed."""
        return replace(self, **changes)

    def outputs(self, images_nhwc: ImagesNHWC) -> dict[str, Floats]:
        """Return every output for (n, 8, 8, 3) uint8 pictures, in plain NumPy (ReLU6 only)."""
        x = (images_nhwc[..., list(self.colours)].astype(np.float32) - self.mean) / self.scale
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        convolved = np.einsum("nhwcij,kcij->nkhw", windows, self._weights["kernel"])
        features = np.clip(convolved + self._weights["shift"][:, None, None], 0, 6)
        embedding = features.mean(axis=(2, 3))
        logits = embedding @ self._weights["matrix"] + np.float32(self.bias)
        found = {"logits": logits, "embedding": embedding, "features": features}
        return {name: value.astype(np.float32) for name, value in found.items()}

    def logits(self, images_nhwc: ImagesNHWC) -> Floats:
        """Return (n, 4) scores."""
        return self.outputs(images_nhwc)["logits"]

    def onnx_model(self, change: Callable[[Any], None] | None = None) -> bytes:
        """Return the ONNX file; `change` may spoil the ModelProto first."""
        import onnx

        model = onnx.helper.make_model(
            self._graph(), opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
        )
        if change is not None:
            change(model)
        content: bytes = model.SerializeToString()
        return content

    def _graph(self) -> Any:
        from onnx import TensorProto, helper, numpy_helper

        node = helper.make_node
        shared = {
            **self._weights,
            "mean": np.float32(self.mean),
            "scale": np.float32(self.scale),
            "low": np.float32(0),
            "high": np.float32(6),
            "bias": np.float32(self.bias),
            "colours": np.array(self.colours, dtype=np.int64),
        }
        bounds = ["low", "high"] if self.activation == "Clip" else []
        nodes = [
            node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            node("Gather", ["floats", "colours"], ["ordered"], axis=3),
            node("Transpose", ["ordered"], ["nchw"], perm=[0, 3, 1, 2]),
            node("Sub", ["nchw", "mean"], ["centred"]),
            node("Div", ["centred", "scale"], ["normal"]),
            node("Conv", ["normal", "kernel", "shift"], ["convolved"], pads=[1, 1, 1, 1]),
            node(self.activation, ["convolved", *bounds], ["features"]),
            node("GlobalAveragePool", ["features"], ["pooled"]),
            node("Flatten", ["pooled"], ["embedding"]),
            node("MatMul", ["embedding", "matrix"], ["product"]),
            node("Add", ["product", "bias"], ["logits"]),
        ]
        shapes = {
            "logits": ["n", CLASSES],
            "embedding": ["n", WIDTH],
            "features": ["n", WIDTH, SIZE, SIZE],
        }
        pictures = helper.make_tensor_value_info(
            "images", TensorProto.UINT8, ["n", SIZE, SIZE, CHANNELS]
        )
        return helper.make_graph(
            nodes,
            "small",
            [pictures],
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in shapes.items()],
            [numpy_helper.from_array(np.asarray(v), k) for k, v in shared.items()],
        )


def noise_images(n: int, seed: int = 0) -> ImagesNHWC:
    """Return (n, 8, 8, 3) uint8 pictures of noise with differing mean colours."""
    noise = generator(seed, "noise-images")
    base = noise.integers(0, 200, (n, 1, 1, CHANNELS))
    return (base + noise.integers(0, 56, (n, SIZE, SIZE, CHANNELS))).astype(np.uint8)
