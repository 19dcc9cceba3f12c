"""A Bundle of a few hundred bytes whose answers anyone can work out, for tests of what reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clearsight.core.bundle import MODEL, Bundle, write_bundle
from clearsight.core.reference import Reference

COLOURS = ("red", "green", "blue")


def colour_model(classes: int = 3, gain: float = 0.1, embedding: bool = False) -> bytes:
    """Return an ONNX model whose logits are the mean red, green and blue of a picture.

    Args:
        classes: 3 or more; the logits beyond the third are -10.
        gain: what the means (0-255) are multiplied with; NaN makes a model that fails.
        embedding: give the three means as the output "embedding" too.
    """
    from onnx import TensorProto, helper, numpy_helper

    weight = np.zeros((3, classes), np.float32)
    weight[:, :3] = np.eye(3) * gain
    bias = np.full(classes, -10, np.float32)
    bias[:3] = 0
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])]
    if embedding:
        outputs.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3]))
    means = "embedding" if embedding else "means"
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["floats", "axes"], [means], keepdims=0),
            helper.make_node("MatMul", [means, "weight"], ["scaled"]),
            helper.make_node("Add", ["scaled", "bias"], ["logits"]),
        ],
        "colour",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 8, 8, 3])],
        outputs,
        [
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def write_colour_bundle(
    path: Path,
    classes: Sequence[str] = COLOURS,
    gain: float = 0.1,
    rejection_threshold: float | None = None,
    reference: Reference | None = None,
    **more: Any,
) -> Bundle:
    """Write a Bundle around `colour_model` that names a picture's main colour.

    Args:
        path: where it shall stand; must not exist.
        classes: names, the first three for red, green and blue.
        gain, rejection_threshold: see `colour_model` and `Manifest`.
        reference: what live answers are compared with; one with features makes the model give
            the mean red, green and blue as its "embedding".
        more: further fields of the manifest, such as `conformal`.
    """
    embedding = reference is not None and reference.features is not None
    model = colour_model(len(classes), gain, embedding)
    about = {
        "id": hashlib.sha256(model).hexdigest()[:32],
        "created_utc": "2026-01-01T00:00:00Z",
        "classes": list(classes),
        "family": "colour",
        "preprocessing": {"height": 8, "width": 8, "channels": 3},
        "temperature": 1.0,
        "rejection_threshold": rejection_threshold,
        "outputs": ("logits", "embedding") if embedding else ("logits",),
        "reference": None if reference is None else reference.model_dump(),
        "metrics": {},
        "data_fingerprint": "0" * 64,
        "seed": 0,
        "config": {},
        "versions": {},
        **more,
    }
    return write_bundle(
        path, about, {MODEL: model, **_golden(len(classes), gain)}, gate=lambda bundle: None
    )


def _golden(classes: int, gain: float) -> dict[str, bytes]:
    """Return golden pictures of the three colours with the scores they would get if finite."""
    from clearsight.learn.golden import golden_files

    images = np.zeros((3, 8, 8, 3), np.uint8)
    logits = np.full((3, classes), -10, np.float32)
    for colour in range(3):
        images[colour, :, :, colour] = 200
    logits[:, :3] = images.mean(axis=(1, 2)) * (gain if np.isfinite(gain) else 0.1)
    return golden_files(images, logits)
