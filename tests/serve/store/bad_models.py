"""Bundles that verify and still must not answer (CHECKS 26)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from store_support import ABOUT

from clearsight.core.bundle import MODEL, Bundle, write_bundle
from clearsight.testing.tiny_bundle import COLOURS, colour_model


def model_bundle(path: Path, model: bytes, goldens: dict[str, bytes], **about: Any) -> Bundle:
    """Write a Bundle around an ONNX model."""
    values = {**ABOUT, "id": hashlib.sha256(model).hexdigest()[:32], **about}
    return write_bundle(path, values, {MODEL: model, **goldens}, gate=lambda bundle: None)


def goldens(classes: int = 3, gain: float = 0.1) -> dict[str, bytes]:
    """Return the golden pictures of `colour_model(classes, gain)`."""
    from clearsight.learn.golden import golden_files

    images = np.zeros((3, 8, 8, 3), np.uint8)
    logits = np.full((3, classes), -10, np.float32)
    for colour in range(3):
        images[colour, :, :, colour] = 200
    logits[:, :3] = images.mean(axis=(1, 2)) * gain
    return golden_files(images, logits)


def good(path: Path, gain: float = 0.1, classes: tuple[str, ...] = COLOURS, **about: Any) -> Bundle:
    """Write a Bundle that answers as its golden pictures say."""
    model = colour_model(len(classes), gain)
    return model_bundle(path, model, goldens(len(classes), gain), classes=list(classes), **about)


def nan(path: Path) -> Bundle:
    """Write a Bundle whose model gives NaN."""
    return model_bundle(path, colour_model(gain=float("nan")), goldens())


def golden_miss(path: Path) -> Bundle:
    """Write a Bundle whose model gives other scores than its golden pictures should get."""
    return model_bundle(path, colour_model(gain=0.1), goldens(gain=0.02))


def wrong_shape(path: Path) -> Bundle:
    """Write a Bundle whose model gives four scores for three classes."""
    return model_bundle(path, colour_model(4), goldens(3))


def no_model(path: Path) -> Bundle:
    """Write a Bundle whose model no engine opens."""
    return model_bundle(path, b"no model at all", goldens())


def greedy(path: Path, mib: int) -> Bundle:
    """Write a small Bundle whose model asks for much memory, twice, when it runs."""
    return model_bundle(path, _with_detour(_big(mib)), goldens())


def slow(path: Path, rounds: int = 20, side: int = 256) -> Bundle:
    """Write a Bundle whose model multiplies large matrices for nothing."""
    return model_bundle(path, _with_detour(_multiply(rounds, side)), goldens())


def with_variant(path: Path, gain: float) -> Bundle:
    """Write a good Bundle with a variant of lower precision whose gain is another."""
    on_engine = {"drop": 0, "drop_low": 0, "drop_high": 0, "n": 9, "agreement": 1}
    speed = {"speed_up": 2, "speed_up_low": 2, "speed_up_high": 2}
    variant = {
        "file": "model.int8.onnx",
        "precision": "int8",
        "engines": {"onnxruntime": {**on_engine, **speed}},
        "tolerance": 0.05,
        "machine": "of this test",
        "made_with": {},
    }
    files = {**goldens(), "model.int8.onnx": colour_model(gain=gain)}
    return model_bundle(path, colour_model(), files, variants={"int8": variant})


def _with_detour(detour: tuple[list[Any], list[Any]]) -> bytes:
    """Return `colour_model` with nodes that compute a zero in between.

    Args:
        detour: nodes from "means" (n, 3) to "nothing" (a number times 0), and initialisers.
    """
    import onnx
    from onnx import helper

    nodes, initialisers = detour
    model = onnx.load_model_from_string(colour_model())
    graph = model.graph
    add = next(node for node in graph.node if node.op_type == "Add")
    add.output[0] = "plain"
    graph.node.extend(nodes)
    graph.node.append(helper.make_node("Add", ["plain", "nothing"], ["logits"]))
    graph.initializer.extend(initialisers)
    content: bytes = model.SerializeToString()
    return content


def _numbers(name: str, values: object, kind: type = np.int64) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array(values, kind), name)


def _big(mib: int) -> tuple[list[Any], list[Any]]:
    from onnx import helper

    nodes = [  # the mean of the means, so that no optimiser can work it out beforehand
        helper.make_node("ReduceMean", ["means"], ["one"], keepdims=0),
        helper.make_node("Expand", ["one", "wide"], ["huge"]),
        helper.make_node("Sigmoid", ["huge"], ["grown"]),
        helper.make_node("ReduceMean", ["grown"], ["back"], keepdims=0),
        helper.make_node("Mul", ["back", "zero"], ["nothing"]),
    ]
    wide = _numbers("wide", [mib * 256, 1024])
    return nodes, [wide, _numbers("zero", 0, np.float32)]


def _multiply(rounds: int, side: int) -> tuple[list[Any], list[Any]]:
    from onnx import helper

    noise = np.random.default_rng(0).normal(0, 1 / side, (side, side))
    nodes = [
        helper.make_node("ReduceMean", ["means"], ["one"], keepdims=0),
        helper.make_node("Mul", ["matrix", "one"], ["product0"]),
    ]
    for number in range(rounds):
        inputs = [f"product{number}", "matrix"]
        nodes.append(helper.make_node("MatMul", inputs, [f"product{number + 1}"]))
    nodes.append(helper.make_node("ReduceMean", [f"product{rounds}"], ["back"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["back", "zero"], ["nothing"]))
    return nodes, [_numbers("matrix", noise, np.float32), _numbers("zero", 0, np.float32)]
