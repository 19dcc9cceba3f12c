"""Our optimizers take the steps that torch's and timm's take; clipping; state."""

import pytest
import torch
from torch import nn

from clearsight.core.errors import ConfigError
from clearsight.learn.optimizers import OPTIMIZERS
from clearsight.learn.optimizers._state import saved
from clearsight.learn.trainers._optimizers import Optimizers, default_groups


def _timm_lion(params, **options):
    from timm.optim import Lion

    return Lion(params, **options)


@pytest.mark.parametrize(
    ("name", "options", "oracle"),
    [
        ("sgd", {}, lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.1, nesterov=True)),
        ("sgd", {"nesterov": False}, lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.1)),
        ("sgd", {"momentum": 0}, lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.1)),
        ("adam", {}, lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.1)),
        ("adamw", {}, lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.1)),
        (
            "adamw",
            {"betas": (0.8, 0.9), "eps": 0.01},
            lambda p: torch.optim.AdamW(p, 0.1, (0.8, 0.9), 0.01, weight_decay=0.1),
        ),
        ("lion", {}, lambda p: _timm_lion(p, lr=0.1, weight_decay=0.1)),
    ],
)
def test_steps_are_those_of_the_library(name, options, oracle):
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 6)) for _ in range(2))
    made = OPTIMIZERS.load(name)
    group = {"params": [ours], "lr": 0.1, "weight_decay": 0.1}
    (stepper,) = made(made.Config.parse(options)).steppers([group])
    reference = oracle([theirs])
    for _ in range(5):
        for weight, optimizer in ((ours, stepper), (theirs, reference)):
            (weight**3 + weight).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert not torch.allclose(ours, torch.linspace(-1, 1, 6), atol=0.1)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ConfigError, match="nesterov"):
        OPTIMIZERS.load("sgd").Config.parse({"momentum": 0, "nesterov": True})


def _optimizers(network):
    sgd = OPTIMIZERS.load("sgd")
    return Optimizers(network, sgd(sgd.Config()), default_groups(network, 0.0), 0.1)


@pytest.mark.parametrize("longest", [0.5, 100.0])
def test_the_whole_gradient_is_shortened(longest):
    network = nn.Linear(3, 2)
    optimizers = _optimizers(network)
    (network(torch.ones(1, 3)) * 7).sum().backward()
    before = [weight.grad.clone() for weight in network.parameters()]
    length = optimizers.clip(longest)
    expected = [weight.clone().detach().requires_grad_() for weight in network.parameters()]
    for weight, gradient in zip(expected, before, strict=True):
        weight.grad = gradient
    assert length == pytest.approx(float(torch.nn.utils.clip_grad_norm_(expected, longest)))
    for weight, reference in zip(network.parameters(), expected, strict=True):
        assert torch.allclose(weight.grad, reference.grad)


def test_state_that_a_checkpoint_cannot_hold_is_refused():
    network = nn.Linear(3, 2)
    sgd = OPTIMIZERS.load("sgd")
    (stepper,) = sgd(sgd.Config()).steppers([*default_groups(network, 0.0)][:1])
    stepper.state[network.weight]["parts"] = [torch.zeros(1)]
    with pytest.raises(ConfigError, match="'parts' as list"):
        saved([stepper], dict(network.named_parameters()))
