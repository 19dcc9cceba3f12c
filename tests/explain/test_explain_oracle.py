"""Gradients, Integrated Gradients and Grad-CAM are captum's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
from captum import attr
from torch.nn import functional as F

from clearsight.core.nouns import Preprocessing
from clearsight.engines.open import open_predictor
from clearsight.explain.explain import make_explainer
from clearsight.explain.question import Question
from clearsight.explain.subject import Subject, subject_of
from clearsight.learn.export import export_onnx
from clearsight.learn.networks.timm_network import TimmNetwork
from clearsight.testing.model_bundle import noise_pictures, write_model_bundle

SIDE, CLOSE = 64, 1e-4


@pytest.fixture(scope="module")
def network() -> TimmNetwork:
    torch.manual_seed(0)
    # Neither ReLU nor max-pooling: at a kink the last bit of a pixel chooses the gradient.
    model = timm.create_model("resnet10t", num_classes=3, act_layer="silu", replace_stem_pool=True)
    return TimmNetwork(model, (127.5,) * 3, (64.0,) * 3).eval()


@pytest.fixture(scope="module")
def subject(network: TimmNetwork, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    size = Preprocessing(height=SIDE, width=SIDE)
    path = tmp_path_factory.mktemp("oracle") / "bundle"
    write_model_bundle(path, export_onnx(network, size), noise_pictures(2, SIDE, SIDE, 3))
    return subject_of(open_predictor(path, "onnxruntime"))


def tensor(images: Any) -> Any:
    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)


def near(got: Any, wanted: Any) -> bool:
    return bool(np.abs(got - wanted).max() <= CLOSE * np.abs(wanted).max())


IMAGES = noise_pictures(2, SIDE, SIDE, 3, seed=4)
LABELS = np.array([0, 2])


def test_gradients_are_captums(network: TimmNetwork, subject: Subject) -> None:
    wanted = attr.Saliency(network).attribute(
        tensor(IMAGES), target=torch.from_numpy(LABELS), abs=False
    )
    weights = Question(LABELS).weights(3)
    got = subject.live.gradient(IMAGES.astype(np.float32), lambda _: weights).gradients
    assert near(got, wanted.permute(0, 2, 3, 1).detach().numpy())


def test_integrated_gradients_are_captums(network: TimmNetwork, subject: Subject) -> None:
    wanted = attr.IntegratedGradients(network).attribute(
        tensor(IMAGES), target=torch.from_numpy(LABELS), n_steps=32, method="gausslegendre"
    )
    explainer = make_explainer("integrated-gradients", {"steps": 32, "baseline": "black"})
    got = explainer.maps(subject, IMAGES, Question(LABELS))
    assert near(got, wanted.sum(1).detach().numpy())


def test_grad_cam_is_captums(network: TimmNetwork, subject: Subject) -> None:
    layer = network.model.layer4
    wanted = attr.LayerGradCam(network, layer).attribute(
        tensor(IMAGES), target=torch.from_numpy(LABELS), relu_attributions=True
    )
    large = F.interpolate(wanted, (SIDE, SIDE), mode="bilinear").squeeze(1).detach().numpy()
    got = make_explainer("grad-cam").maps(subject, IMAGES, Question(LABELS))
    assert np.abs(got - large).max() <= 1e-3 * np.abs(large).max()
