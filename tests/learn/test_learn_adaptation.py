"""Adapted statistics: channels come back to what they were, and batch normalisation agrees."""

import numpy as np
import pytest
import torch
from torch import nn

from clearsight.core.errors import UsageError
from clearsight.core.nouns import Preprocessing
from clearsight.learn.adaptation import adapted_model
from clearsight.learn.export import export_onnx
from clearsight.learn.onnx_in_torch import read_graph
from clearsight.testing.tiny_bundle import colour_model

SIDE = 12
SIZE = Preprocessing(height=SIDE, width=SIDE, channels=1)


class Network(nn.Module):
    """Two normalised convolutions; statistics of its own are those of `pictures()`."""

    def __init__(self):
        super().__init__()
        self.one, self.first = nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6, momentum=None)
        self.two, self.second = nn.Conv2d(6, 8, 3, bias=False), nn.BatchNorm2d(8, momentum=None)
        self.head = nn.Linear(8, 3)

    def forward(self, pixels):
        maps = torch.relu(self.first(self.one(pixels)))
        return self.head(torch.relu(self.second(self.two(maps))).mean((2, 3)))


def pictures(n=64, seed=0, gain=1.0, offset=0.0):
    values = np.random.default_rng(seed).uniform(20, 200, (n, SIDE, SIDE, 1))
    return np.clip(gain * values + offset, 0, 255).astype(np.uint8)


def as_pixels(images):
    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = Network().train()
    with torch.no_grad():
        network(as_pixels(pictures()))
    return network.eval()


def scores(model, images):
    with torch.no_grad():
        graph = read_graph(model)
        return graph.run(torch.from_numpy(images.astype(np.float32)), ("logits",))["logits"]


def test_it_is_what_batch_normalisation_would_do_on_the_new_pictures(network):
    dark = pictures(seed=1, gain=0.4, offset=10)
    adapted = adapted_model(export_onnx(network, SIZE), pictures(), dark, pseudo_pictures=0)
    with torch.no_grad():
        network.train()  # statistics of the batch
        want = network(as_pixels(dark))
    assert torch.allclose(scores(adapted, dark), want, atol=2e-2)
    plain = scores(export_onnx(network, SIZE), dark)
    assert not torch.allclose(plain, want, atol=2e-2)


def test_the_same_pictures_change_nothing(network):
    model = export_onnx(network, SIZE)
    adapted = adapted_model(model, pictures(), pictures())
    assert torch.allclose(scores(adapted, pictures()), scores(model, pictures()), atol=1e-3)


def test_old_statistics_weigh_as_many_pictures_as_asked_for(network):
    model, dark = export_onnx(network, SIZE), pictures(8, seed=1, gain=0.4)
    plain = scores(model, dark)
    moved = [
        float((scores(adapted_model(model, pictures(), dark, many), dark) - plain).abs().mean())
        for many in (0, 8, 1e6)
    ]
    assert moved[0] > moved[1] > moved[2]
    assert moved[2] < 1e-3


def test_a_model_without_convolutions_is_refused():
    images = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(UsageError, match="no convolutions"):
        adapted_model(colour_model(), images, images)
