"""Puts any ONNX model into a Bundle, for tests of what reads Bundles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.bundle import MODEL, WEIGHTS, Bundle, write_bundle
from clearsight.core.nouns import ImagesNHWC
from clearsight.engines.open import open_session


def write_model_bundle(
    path: Path,
    model: bytes,
    images_nhwc: ImagesNHWC,
    outputs: Sequence[str] = ("logits",),
    weights: Mapping[str, NDArray[Any]] | None = None,
    **about: Any,
) -> Bundle:
    """Write a Bundle whose golden scores are what ONNX Runtime gives.

    Args:
        path: where it shall stand; must not exist.
        model: uint8 pictures -> `outputs`.
        images_nhwc: golden pictures; their shape is the model's input.
        outputs: of the manifest.
        weights: arrays by name, for model.safetensors.
        about: fields of the manifest to have other values.
    """
    from clearsight.learn.bundle_writer import safetensors_bytes
    from clearsight.learn.golden import golden_files

    logits = open_session(model, "onnxruntime", 1).run(images_nhwc)["logits"]
    _, height, width, channels = images_nhwc.shape
    told = {
        "id": hashlib.sha256(model).hexdigest()[:32],
        "created_utc": "2026-01-01T00:00:00Z",
        "classes": [f"class {number}" for number in range(logits.shape[1])],
        "family": "test",
        "preprocessing": {"height": height, "width": width, "channels": channels},
        "temperature": 1.0,
        "outputs": tuple(outputs),
        "metrics": {},
        "data_fingerprint": "0" * 64,
        "seed": 0,
        "config": {},
        "versions": {},
    }
    files = {MODEL: model, **golden_files(images_nhwc, logits)}
    if weights is not None:
        files[WEIGHTS] = safetensors_bytes(weights)
    return write_bundle(path, {**told, **about}, files, gate=lambda bundle: None)


def noise_pictures(n: int, height: int, width: int, channels: int, seed: int = 0) -> ImagesNHWC:
    """Return (n, height, width, channels) uint8 pictures of noise."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n, height, width, channels), dtype=np.uint8)
