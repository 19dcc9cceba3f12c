"""VGG, ResNet, Inception and a transformer with adapters, from a folder to a prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clearsight
from clearsight.core.errors import ConfigError, UnknownKeyError
from clearsight.core.nouns import Preprocessing
from clearsight.testing.toy_pictures import CLASSES, toy_pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    images, labels = toy_pictures(Preprocessing(height=28, width=28), 12, seed=0)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        target = folder / CLASSES[label]
        target.mkdir(exist_ok=True)
        Image.fromarray(image).save(target / f"{number:03d}.png")
    return folder


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("resnet18", ["family.side=32"]),
        pytest.param("vgg11_bn", ["family.side=32"], marks=pytest.mark.slow),
        pytest.param("inception_v3", [], marks=pytest.mark.slow),
        pytest.param(
            "vit_tiny_patch16_224",
            ["family.side=32", "family.adapters.rank=2"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_network_trains_exports_and_predicts(
    model: str, settings: list[str], pictures: Path, tmp_path: Path
) -> None:
    recognizer = clearsight.train(
        pictures, out=tmp_path / "run", model=model, epochs=1, settings=settings
    )
    path = next(pictures.rglob("*.png"))
    row = recognizer.predict(path)
    assert row.label in CLASSES
    assert np.isclose(sum(row.scores), 1.0, atol=1e-3)


@pytest.mark.parametrize(
    ("model", "settings", "error", "told"),
    [
        ("resnett18", [], UnknownKeyError, "resnet18"),
        ("inception_v3", ["family.side=32"], ConfigError, "96"),
        ("resnet18", ["family.adapters.rank=2"], ConfigError, "transformer"),
        ("resnet18", ["family.layers=last"], ConfigError, "pre-trained weights"),
        ("resnet18", ["family.lr=0.1"], ConfigError, "lr"),
    ],
)
def test_what_a_network_cannot_do_is_refused(
    model: str,
    settings: list[str],
    error: type[Exception],
    told: str,
    pictures: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=told):
        clearsight.train(pictures, out=tmp_path / "run", model=model, epochs=1, settings=settings)
    assert not (tmp_path / "run" / "bundle").exists()
