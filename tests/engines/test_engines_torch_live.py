"""Gradients of a Bundle are those of the deployed graph, checked against torch and by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from clearsight.core.bundle import Bundle
from clearsight.core.errors import BundleError, MissingExtraError, UsageError
from clearsight.core.nouns import Differentiable, Preprocessing
from clearsight.engines import torch_live
from clearsight.engines.torch_live import open_live
from clearsight.learn.export import export_onnx
from clearsight.learn.networks.compact_network import CompactNetwork
from clearsight.learn.networks.timm_network import TimmNetwork
from clearsight.learn.onnx_in_torch import read_graph
from clearsight.testing.model_bundle import noise_pictures, write_model_bundle
from clearsight.testing.small_network import SmallNetwork, noise_images

OUTPUTS = ("logits", "embedding", "features")


def small_bundle(path: Path, **changes: Any) -> Bundle:
    network = SmallNetwork(**changes)
    return write_model_bundle(path / "small", network.onnx_model(), noise_images(3), OUTPUTS)


def network_bundle(path: Path, network: torch.nn.Module, side: int, channels: int) -> Bundle:
    size = Preprocessing(height=side, width=side, channels=channels)
    names = OUTPUTS if isinstance(network, CompactNetwork) else ("logits",)
    model = export_onnx(network, size, names)
    return write_model_bundle(path / "net", model, noise_pictures(3, side, side, channels), names)


def compact(mirrored: bool) -> CompactNetwork:
    torch.manual_seed(0)
    network = CompactNetwork(1, 4, 2, (8, 16), 1, mirrored=mirrored)
    network.whiten(noise_pictures(20, 24, 24, 1))
    with torch.no_grad():
        for module in network.modules():  # statistics that are not those of a new network
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return network.eval()


def floats(n: int, side: int, channels: int, seed: int = 5) -> Any:
    random = np.random.default_rng(seed)
    return random.uniform(0, 255, (n, side, side, channels)).astype(np.float32)


def autograd(network: torch.nn.Module, pixels: Any, weights: Any) -> tuple[Any, Any]:
    """Logits and gradients of the torch module itself."""
    start = torch.from_numpy(pixels).requires_grad_()
    logits = network(start.permute(0, 3, 1, 2))
    (logits * torch.from_numpy(weights)).sum().backward()
    return logits.detach().numpy(), start.grad.numpy()


def weights_like(logits: Any, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=logits.shape).astype(np.float32)


def test_it_is_a_differentiable_and_gives_the_scores(tmp_path: Path) -> None:
    live = open_live(small_bundle(tmp_path))
    assert isinstance(live, Differentiable)
    images = noise_images(5, seed=3)
    wanted = SmallNetwork().logits(images)
    assert np.allclose(live.logits(images.astype(np.float32)), wanted, atol=1e-4)


def test_the_gradient_of_a_layer_is_the_head(tmp_path: Path) -> None:
    live = open_live(small_bundle(tmp_path))
    assert live.layers == ("features",)
    images = noise_images(2, seed=3)
    weights = weights_like(np.zeros((2, 4)))
    seen = live.gradient(images.astype(np.float32), lambda _: weights, "features")
    network = SmallNetwork()
    wanted = weights @ network.weights["matrix"].T / 64
    assert np.allclose(seen.values, network.outputs(images)["features"], atol=1e-4)
    assert np.allclose(seen.gradients, wanted[:, :, None, None], atol=1e-6)


def test_the_gradient_of_pixels_is_the_slope(tmp_path: Path) -> None:
    live = open_live(small_bundle(tmp_path, activation="Sigmoid"))
    pixels = noise_images(1, seed=3).astype(np.float32)
    weights = np.eye(4, dtype=np.float32)[:1]
    slope = live.gradient(pixels, lambda _: weights).gradients[0]
    for y, x, c in ((0, 0, 0), (3, 4, 1), (7, 7, 2)):
        moved = np.repeat(pixels, 2, axis=0)
        moved[0, y, x, c] += 2
        moved[1, y, x, c] -= 2
        up, down = live.logits(moved)[:, 0]
        assert slope[y, x, c] == pytest.approx((up - down) / 4, rel=0.05, abs=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_compact_network_gives_torchs_own_gradients(tmp_path: Path, mirrored: bool) -> None:
    network = compact(mirrored)
    live = open_live(network_bundle(tmp_path, network, 24, 1))
    pixels = floats(4, 24, 1)
    weights = weights_like(live.logits(pixels))
    logits, wanted = autograd(network, pixels, weights)
    seen = live.gradient(pixels, lambda _: weights)
    assert np.allclose(seen.logits, logits, atol=1e-4)
    assert np.allclose(seen.gradients, wanted, atol=1e-4 * float(np.abs(wanted).max()))


def test_the_deepest_layer_of_a_mirrored_network_is_of_the_picture_itself(tmp_path: Path) -> None:
    network = compact(mirrored=True)
    live = open_live(network_bundle(tmp_path, network, 24, 1))
    pixels = floats(2, 24, 1)
    weights = np.eye(4, dtype=np.float32)[:2]
    seen = live.gradient(pixels, lambda _: weights, live.layers[0])
    with torch.no_grad():
        wanted = network.features(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
    assert np.allclose(seen.values, wanted, atol=1e-4)
    sizes = [
        live.gradient(pixels[:1], lambda _: weights[:1], layer).values.shape[2]
        for layer in live.layers
    ]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == len(sizes)


@pytest.mark.parametrize(
    ("name", "side"), [("tf_efficientnet_lite0", 64), ("resnet10t", 64), ("densenet121", 64)]
)
def test_timm_networks_give_torchs_own_gradients(tmp_path: Path, name: str, side: int) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3)
    network = TimmNetwork(model, (127.5,) * 3, (64.0,) * 3).eval()
    live = open_live(network_bundle(tmp_path, network, side, 3))
    pixels = floats(2, side, 3)
    weights = weights_like(live.logits(pixels))
    logits, wanted = autograd(network, pixels, weights)
    seen = live.gradient(pixels, lambda _: weights)
    assert np.allclose(seen.logits, logits, atol=1e-3 * max(1.0, float(np.abs(logits).max())))
    assert np.allclose(seen.gradients, wanted, atol=1e-2 * float(np.abs(wanted).max()))
    with torch.no_grad():
        maps = model.forward_features((torch.from_numpy(pixels).permute(0, 3, 1, 2) - 127.5) / 64)
    deepest = live.gradient(pixels, lambda _: weights, live.layers[0])
    assert deepest.values.shape == tuple(maps.shape)


def test_a_transformer_gives_its_attention(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", num_classes=3, img_size=64, depth=2, class_token=True
    )
    network = TimmNetwork(model, (127.5,) * 3, (64.0,) * 3).eval()
    live = open_live(network_bundle(tmp_path, network, 64, 3))
    assert live.layers == ()
    found = live.attentions(floats(2, 64, 3))
    assert [block.shape for block in found] == [(2, 3, 17, 17)] * 2
    for block in found:
        assert np.allclose(block.sum(axis=-1), 1, atol=1e-4)
        assert (block >= 0).all()


def test_a_batch_in_pieces_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = open_live(network_bundle(tmp_path, compact(True), 24, 1))
    pixels = floats(5, 24, 1)
    calls: list[int] = []

    def of(logits: Any) -> Any:
        calls.append(len(logits))
        return np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0]]

    whole = live.gradient(pixels, of)
    monkeypatch.setattr(torch_live, "PIECE_IMAGES", 2)
    parts = live.gradient(pixels, of)
    assert calls == [5, 5]
    assert np.allclose(whole.gradients, parts.gradients, atol=1e-6)
    assert np.allclose(whole.logits, live.logits(pixels), atol=1e-5)


def test_random_weights_are_seeded_alive_and_different(tmp_path: Path) -> None:
    network = TimmNetwork(
        timm.create_model("tf_efficientnet_lite0", num_classes=3), (127.5,) * 3, (64.0,) * 3
    )
    live = open_live(network_bundle(tmp_path, network.eval(), 64, 3))
    pixels = floats(2, 64, 3)
    one, again, other = live.randomized(1), live.randomized(1), live.randomized(2)
    assert np.array_equal(one.logits(pixels), again.logits(pixels))
    assert not np.allclose(one.logits(pixels), other.logits(pixels))
    assert one.layers == live.layers
    weights = np.eye(3, dtype=np.float32)[:2]
    assert np.abs(one.gradient(pixels, lambda _: weights).gradients).max() > 0


def test_what_gives_no_gradient_is_refused(tmp_path: Path) -> None:
    model = SmallNetwork().onnx_model()
    for number, told in enumerate(({"family": "classical"}, {"steps": True})):
        bundle = write_model_bundle(tmp_path / str(number), model, noise_images(2), **told)
        with pytest.raises(UsageError, match="occlusion"):
            open_live(bundle)

    def spoil(proto: Any) -> None:
        node = next(node for node in proto.graph.node if node.op_type == "Clip")
        node.op_type = "TreeEnsembleClassifier"

    with pytest.raises(UsageError, match="TreeEnsembleClassifier"):
        read_graph(SmallNetwork().onnx_model(spoil))
    flat = write_model_bundle(
        tmp_path / "flat", SmallNetwork(activation="Sign").onnx_model(), noise_images(2)
    )
    with pytest.raises(UsageError, match="no gradient"):
        open_live(flat)


def test_other_scores_than_recorded_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearsight.learn import onnx_operators

    bundle = small_bundle(tmp_path)
    monkeypatch.setitem(onnx_operators.OPERATORS, "Clip", lambda a, inputs: inputs[0])
    with pytest.raises(BundleError, match="other scores"):
        open_live(bundle)


def test_without_torch_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = small_bundle(tmp_path)
    monkeypatch.delitem(sys.modules, "clearsight.learn.onnx_in_torch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"clearsight\[train\]"):
        open_live(bundle)


def test_wrong_input_is_refused(tmp_path: Path) -> None:
    live = open_live(small_bundle(tmp_path))
    good = np.zeros((1, 8, 8, 3), np.float32)
    for wrong in (good.astype(np.uint8), good[:, :4], good[:0], good[..., :1]):
        with pytest.raises(UsageError, match="float32 pictures"):
            live.logits(wrong)
    with pytest.raises(UsageError, match="Allowed: features"):
        live.gradient(good, lambda z: z, "feature")
    with pytest.raises(UsageError, match="shape"):
        live.gradient(good, lambda z: z[:, :2])
