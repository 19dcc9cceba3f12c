"""Any timm model trains from scratch and exports; sides and names are refused before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clearsight.core.errors import ConfigError, UnknownKeyError
from clearsight.core.nouns import Preprocessing
from clearsight.engines.open import open_session
from clearsight.learn.backbones import build
from clearsight.learn.export import export_onnx
from clearsight.learn.families.timm import Timm, _outputs
from clearsight.learn.family import Budget, Facts, Job
from clearsight.learn.networks.timm_network import TimmNetwork
from clearsight.learn.networks.timm_sides import cost, create
from clearsight.learn.networks.window_head import fit_head
from clearsight.learn.training import Training

SIDE = 32
ENGINES = ("onnxruntime", "openvino")


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def stripes(n: int, seed: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Noisy stripes: lying (0) or standing (1)."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = random.integers(0, 80, (n, side, side, 3))
    for image, label in zip(images, labels, strict=True):
        begin = int(random.integers(0, 4))
        if label:
            image[:, begin::4] += 150
        else:
            image[begin::4] += 150
    return images.astype(np.uint8), labels.astype(np.int64)


def job(work: Path, epochs: float = 3, side: int = SIDE, **training: Any) -> Job:
    return Job(
        *stripes(96, 0, side),
        *stripes(32, 1, side),
        classes=("lying", "standing"),
        preprocessing=Preprocessing(height=side, width=side),
        seed=0,
        budget=Budget(epochs=epochs),
        work=work,
        open_model=lambda model: open_session(model, "onnxruntime"),
        training=Training.parse(training),
    )


def facts(height: int, width: int, time_s: float | None = None, n: int = 10) -> Facts:
    return Facts(("a", "b"), (n, n), height, width, False, time_s=time_s)


def test_it_learns_and_the_export_says_the_same(tmp_path: Path) -> None:
    fitted = Timm(Timm.Config(name="resnet10t")).fit(job(tmp_path, batch_size=16))
    images, labels = stripes(64, 2)
    logits = fitted.logits(images)
    assert (logits.argmax(axis=1) == labels).mean() > 0.9
    for engine in ENGINES:
        session = open_session(fitted.onnx_model(), engine)
        got = session.run(images, ("logits", "embedding", "features"))
        np.testing.assert_allclose(got["logits"], logits, atol=1e-3)
        assert got["features"].ndim == 4
    assert fitted.story["weights"] == "from scratch"
    assert fitted.story["trained_parameters"] == fitted.story["parameters"]
    assert fitted.licences == ()


def test_insisting_on_weights_that_are_not_there_fails(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pretrained=auto"):
        Timm(Timm.Config(name="resnet10t", pretrained="yes")).fit(job(tmp_path))
    with pytest.raises(ConfigError, match="needs pre-trained weights"):
        Timm(Timm.Config(name="resnet10t", layers="last")).fit(job(tmp_path))


def test_an_unknown_model_is_refused_at_once() -> None:
    with pytest.raises(UnknownKeyError, match="resnet18"):
        Timm(Timm.Config(name="resnet81"))


@pytest.mark.parametrize(
    ("name", "side", "allowed"),
    [("inception_v3", 32, "96"), ("levit_128", 40, "224")],
)
def test_a_side_too_small_or_uneven_is_refused_at_once(name: str, side: int, allowed: str) -> None:
    with pytest.raises(ConfigError, match=rf"{side}x{side}.*{allowed}"):
        Timm(Timm.Config(name=name, side=side))


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


def test_a_pretrained_model_is_not_asked_at_a_fraction_of_its_side() -> None:
    for time_s, side in ((None, 224), (10.0, 128)):
        small = facts(32, 32, time_s, 5000)
        assert Timm(Timm.Config()).preprocessing(small).height == side
        scratch = Timm(Timm.Config(pretrained="no")).preprocessing(small).height
        assert scratch == (64 if time_s is None else 32)


def test_the_side_shrinks_with_the_time() -> None:
    family = Timm(Timm.Config(name="resnet18"))
    sides = [family.preprocessing(facts(28, 28, time_s, 5000)).height for time_s in (1e4, 60)]
    assert sides == [64, 32]
    large = [family.preprocessing(facts(400, 400, time_s, 5000)).height for time_s in (1e6, 60)]
    assert large == [224, 128]


@pytest.mark.parametrize("name", ["inception_v3", "vit_tiny_patch16_224", "levit_128"])
def test_the_chosen_side_is_one_that_the_model_takes(name: str) -> None:
    side = Timm(Timm.Config(name=name)).preprocessing(facts(28, 28, 10.0, 5000)).height
    assert cost(name, side) is not None


def test_vggs_head_is_folded_to_a_small_map_exactly() -> None:
    torch.manual_seed(0)
    model = create("vgg11_bn", None, 4).eval()
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = model(pixels)
        before = sum(weight.numel() for weight in model.parameters())
        fit_head(model, 64)
        torch.testing.assert_close(model(pixels), wanted, atol=1e-4, rtol=1e-3)
    assert sum(weight.numel() for weight in model.parameters()) < before / 3


def exported(name: str, side: int) -> None:
    """A model with random weights exports to what both engines answer alike."""
    model = build(name, None, 3, side=side)
    network = TimmNetwork(model, (127.0,) * 3, (64.0,) * 3).eval()
    images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    outputs = _outputs(network, images)
    content = export_onnx(network, Preprocessing(height=side, width=side), outputs)
    with torch.no_grad():
        wanted = network(torch.from_numpy(images).permute(0, 3, 1, 2).float()).numpy()
    for engine in ENGINES:
        session = open_session(content, engine)
        got = session.run(images, outputs)
        np.testing.assert_allclose(got["logits"], wanted, atol=2e-3 * max(1, abs(wanted).max()))
        alone = session.run(images[:1])["logits"]
        np.testing.assert_allclose(alone, wanted[:1], atol=2e-3 * max(1, abs(wanted).max()))


@pytest.mark.parametrize(("name", "side"), [("vgg11_bn", 32), ("deit_tiny_patch16_224", 64)])
def test_a_model_exports_for_both_engines(name: str, side: int) -> None:
    exported(name, side)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("resnet18", 32),
        ("inception_v3", 96),
        ("inception_resnet_v2", 96),
        ("convnext_atto", 64),
        ("mobilenetv4_conv_small", 64),
        ("efficientvit_b0", 64),
        ("swin_tiny_patch4_window7_224", 64),
        ("regnetx_002", 64),
        ("tf_efficientnetv2_b0", 64),
        ("densenet121", 64),
        ("mixer_s32_224", 64),
    ],
)
def test_modern_models_export_for_both_engines(name: str, side: int) -> None:
    exported(name, side)


def test_adapters_on_a_model_without_attention_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"no attention layers.*vit_tiny"):
        Timm(Timm.Config.parse({"name": "resnet18", "adapters": {"rank": 4}}))
    with pytest.raises(ConfigError, match="layers=last does not go with"):
        Timm(Timm.Config.parse({"name": "vit_tiny_patch16_224", "layers": "last", "adapters": {}}))


def test_only_adapters_and_the_head_learn_and_they_are_merged(tmp_path: Path) -> None:
    config = {"name": "vit_tiny_patch16_224", "adapters": {"rank": 4}}
    given = job(tmp_path, epochs=1, side=64)
    small = replace(
        given, train_images=given.train_images[:32], train_labels=given.train_labels[:32]
    )
    fitted: Any = Timm(Timm.Config.parse(config)).fit(small)
    layers = 12 * 4 * ((192 + 3 * 192) + (192 + 192))
    assert fitted.story["trained_parameters"] == layers + 2 * 192 + 2
    assert fitted.story["adapters"] == {"rank": 4, "alpha": 8.0}
    weights = fitted.weights()
    assert not [name for name in weights if ".up" in name or ".base" in name]
    assert "model.blocks.0.attn.qkv.weight" in weights
    images = stripes(8, 3, 64)[0]
    for engine in ENGINES:
        got = open_session(fitted.onnx_model(), engine).run(images)["logits"]
        np.testing.assert_allclose(got, fitted.logits(images), atol=1e-3)
