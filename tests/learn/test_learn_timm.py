"""Any timm model trains from scratch and exports; its outputs are named only when true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clearsight.core.errors import ConfigError, UnknownKeyError
from clearsight.core.nouns import Preprocessing
from clearsight.engines.open import open_session
from clearsight.learn.backbones import build
from clearsight.learn.families.timm import Timm, _outputs
from clearsight.learn.family import Budget, Facts, Job
from clearsight.learn.networks.timm_network import TimmNetwork

SIDE = 32


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def stripes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy stripes: lying (0) or standing (1)."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = random.integers(0, 80, (n, SIDE, SIDE, 3))
    for image, label in zip(images, labels, strict=True):
        begin = int(random.integers(0, 4))
        if label:
            image[:, begin::4] += 150
        else:
            image[begin::4] += 150
    return images.astype(np.uint8), labels.astype(np.int64)


def job(work: Path, epochs: float = 3) -> Job:
    return Job(
        *stripes(96, 0),
        *stripes(32, 1),
        classes=("lying", "standing"),
        preprocessing=Preprocessing(height=SIDE, width=SIDE),
        seed=0,
        budget=Budget(epochs=epochs),
        work=work,
        open_model=lambda model: open_session(model, "onnxruntime"),
    )


def facts(height: int, width: int) -> Facts:
    return Facts(("a", "b"), (10, 10), height, width, False)


def test_it_learns_and_the_export_says_the_same(tmp_path: Path) -> None:
    fitted = Timm(Timm.Config(name="resnet10t", batch_size=16)).fit(job(tmp_path))
    images, labels = stripes(64, 2)
    logits = fitted.logits(images)
    assert (logits.argmax(axis=1) == labels).mean() > 0.9
    session = open_session(fitted.onnx_model(), "onnxruntime")
    got = session.run(images, ("logits", "embedding", "features"))
    np.testing.assert_allclose(got["logits"], logits, atol=1e-3)
    assert got["features"].ndim == 4
    assert fitted.story["weights"] == "from scratch"
    assert fitted.licences == ()


def test_insisting_on_weights_that_are_not_there_fails(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pretrained=auto"):
        Timm(Timm.Config(name="resnet10t", pretrained="yes")).fit(job(tmp_path))


def test_an_unknown_model_is_refused_at_once() -> None:
    with pytest.raises(UnknownKeyError, match="resnet18"):
        Timm(Timm.Config(name="resnet81"))


@pytest.mark.parametrize(
    ("name", "side", "outputs"),
    [
        ("mobilenetv3_small_050", 64, ("logits", "embedding", "features")),
        ("tf_efficientnet_lite0", 64, ("logits", "embedding", "features")),
        ("vit_tiny_patch16_224", 224, ("logits", "embedding")),
    ],
)
def test_outputs_are_named_by_what_the_model_gives(
    name: str, side: int, outputs: tuple[str, ...]
) -> None:
    network = TimmNetwork(build(name, None, 4), (127.0,) * 3, (64.0,) * 3)
    assert _outputs(network, np.zeros((2, side, side, 3), np.uint8)) == outputs


def test_outputs_that_disagree_with_the_model_are_left_out() -> None:
    network = TimmNetwork(build("resnet10t", None, 4), (127.0,) * 3, (64.0,) * 3)
    head = network.model.get_classifier()
    network.model.get_classifier = lambda: lambda embedding: head(embedding) + 1
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    assert _outputs(network, images) == ("logits",)


@pytest.mark.parametrize(("size", "side"), [((28, 28), 64), ((48, 64), 128), ((375, 500), 224)])
def test_small_pictures_are_not_blown_up(size: tuple[int, int], side: int) -> None:
    assert Timm(Timm.Config(name="resnet18")).preprocessing(facts(*size)).height == side
    assert Timm(Timm.Config(side=96)).preprocessing(facts(*size)).height == 96
