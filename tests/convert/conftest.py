"""Pictures that a SmallNetwork tells apart, and models around it as they come from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clearsight.core.bundle import MODEL, Bundle, write_bundle
from clearsight.learn.golden import golden_files
from clearsight.testing.small_network import SIZE, SmallNetwork, noise_images
from clearsight.testing.source_contract import small_float_onnx

NAMES = ("ant", "bee", "猫", "dog")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with 40 pictures a class that the SmallNetwork, who labels them, is sure of."""
    root = tmp_path_factory.mktemp("pictures")
    images = noise_images(6000, seed=3)
    logits = SmallNetwork().logits(images)
    ordered = np.sort(logits, axis=1)
    sureness = ordered[:, -1] - ordered[:, -2]
    for label, name in enumerate(NAMES):
        (root / name).mkdir()
        own = np.flatnonzero(logits.argmax(axis=1) == label)
        for number, index in enumerate(own[np.argsort(-sureness[own])][:40]):
            Image.fromarray(images[index]).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def classes_file(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def float_model(tmp_path: Path) -> Callable[..., Path]:
    """Write a SmallNetwork as ONNX that takes normalised floats (n, c, h, w)."""

    def write(change: Callable[[Any], None] | None = None, name: str = "small.onnx") -> Path:
        path = tmp_path / name
        path.write_bytes(small_float_onnx(SmallNetwork(), change))
        return path

    return write


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """Write a Bundle around a SmallNetwork in RUN/bundle."""

    def make(network: SmallNetwork | None = None, run: str = "run") -> Bundle:
        network = network or SmallNetwork()
        images = noise_images(4, seed=9)
        about = {
            "id": "0123456789abcdef",
            "created_utc": "2026-01-01T00:00:00Z",
            "classes": NAMES,
            "family": "small",
            "preprocessing": {"height": SIZE, "width": SIZE},
            "temperature": 1.0,
            "outputs": ("logits", "embedding"),
            "metrics": {},
            "data_fingerprint": "0",
            "seed": 0,
            "config": {},
            "versions": {},
        }
        files = {MODEL: network.onnx_model(), **golden_files(images, network.logits(images))}
        files["card.md"] = b"# A recognizer\n"
        return write_bundle(tmp_path / run / "bundle", about, files, gate=lambda staged: None)

    return make
