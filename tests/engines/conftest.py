from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clearsight.core.bundle import MODEL, Bundle, write_bundle
from clearsight.learn.golden import golden_files
from clearsight.testing.small_network import SIZE, SmallNetwork, noise_images

CLASSES = ("ant", "bee", "猫", "🐕")


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """Write a Bundle around a SmallNetwork; its golden scores are worked out in NumPy."""

    def make(network: SmallNetwork | None = None, **about: Any) -> Bundle:
        golden = about.pop("golden", golden_files(*_golden()))
        facts = {
            "id": "0123456789abcdef",
            "created_utc": "2026-01-01T00:00:00Z",
            "classes": CLASSES,
            "family": "small",
            "preprocessing": {"height": SIZE, "width": SIZE},
            "temperature": 2.0,
            "outputs": ("logits", "embedding"),
            "metrics": {},
            "data_fingerprint": "0",
            "seed": 0,
            "config": {},
            "versions": {},
        } | about
        model = (network or SmallNetwork()).onnx_model()
        path = tmp_path / f"bundle-{len(list(tmp_path.iterdir()))}"
        return write_bundle(path, facts, {MODEL: model, **golden}, gate=lambda staged: None)

    return make


def _golden() -> tuple[Any, Any]:
    images = noise_images(4, seed=9)
    return images, SmallNetwork().logits(images)
