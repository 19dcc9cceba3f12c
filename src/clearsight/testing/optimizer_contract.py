"""What every optimizer in `learn/optimizers/` must satisfy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from clearsight.core.config import Config
from clearsight.learn.optimizers import OPTIMIZERS, Groups
from clearsight.learn.optimizers._state import restore, saved
from clearsight.learn.optimizers._stepper import PlainStepper
from clearsight.testing.contract import Contract
from clearsight.testing.option_values import other_options

STEPS = 6
SHAPES = {"kernel": (4, 3, 3, 3), "matrix": (5, 4), "bias": (5,)}


class OptimizerContract(Contract):
    """Clauses every optimizer satisfies; an implementation is the optimizer's class."""

    registry = OPTIMIZERS

    def check_builds_from_defaults(self, optimizer: Any) -> None:
        """Its default configuration survives JSON; it names a usual rate and its source."""
        config = optimizer.Config()
        assert isinstance(config, Config)
        assert optimizer.Config.parse(config.model_dump(mode="json")) == config
        assert optimizer.lr > 0
        assert "Source:" in optimizer.__doc__

    def check_goes_downhill(self, optimizer: Any) -> None:
        """At its usual rate a sum of squares gets smaller."""
        weights = _weights()
        before = _height(weights)
        _walk(optimizer, weights, lr=optimizer.lr, steps=30, noise=0.0)
        assert _height(weights) < before

    def check_rate_decides_the_step(self, optimizer: Any) -> None:
        """At rate 0 nothing moves; the rate of the group counts in every step."""
        still, slow, fast = (_weights() for _ in range(3))
        for weights, lr in ((still, 0.0), (slow, 1e-3), (fast, 2e-3)):
            _walk(optimizer, weights, lr=lr)
        assert _same(still, _weights())
        assert not _same(slow, fast)

    def check_weight_decay_shrinks(self, optimizer: Any) -> None:
        """With weight decay kernels end smaller than without."""
        plain, decayed = _weights(), _weights()
        _walk(optimizer, plain, decay=0.0)
        _walk(optimizer, decayed, decay=5.0)
        assert float((decayed["kernel"].norm() - plain["kernel"].norm()).detach()) < 0

    def check_moves_every_weight_once(self, optimizer: Any) -> None:
        """Every weight with a gradient moves, one without stays; no weight is in two groups."""
        weights = _weights()
        steppers = optimizer(optimizer.Config()).steppers(_groups(weights, 1e-3, 0.0))
        held = [id(w) for s in steppers for group in s.param_groups for w in group["params"]]
        assert sorted(held) == sorted(id(weight) for weight in weights.values())
        weights["kernel"].grad = torch.ones_like(weights["kernel"])
        weights["bias"].grad = torch.ones_like(weights["bias"])
        for stepper in steppers:
            stepper.step()
        moved = {name for name, weight in weights.items() if not weight.equal(_weights()[name])}
        assert moved == {"kernel", "bias"}

    def check_resumes_exactly(self, optimizer: Any) -> None:
        """Written to a checkpoint and read back half-way, it ends with the same bits."""
        plain, stored = _weights(), _weights()
        _walk(optimizer, plain)
        _walk(optimizer, stored, stored_at=STEPS // 2)
        assert _same(plain, stored)

    def check_every_option_matters(self, optimizer: Any) -> None:
        """Another value of any option gives other weights."""
        for name, config in other_options(optimizer.Config).items():
            plain, changed = _weights(), _weights()
            _walk(optimizer, plain)
            _walk(optimizer, changed, config=config)
            assert not _same(plain, changed), f"the option {name!r} does nothing"

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        return {
            "check_builds_from_defaults": _planted(lr=0.0),
            "check_goes_downhill": _planted(sign=-1.0),
            "check_rate_decides_the_step": _planted(fixed_rate=1e-3),
            "check_weight_decay_shrinks": _planted(decays=False),
            "check_moves_every_weight_once": _planted(twice=True),
            "check_resumes_exactly": _planted(forgets=True),
            "check_every_option_matters": _planted(deaf=True),
        }


def _weights() -> dict[str, nn.Parameter]:
    random = torch.Generator().manual_seed(0)
    return {
        name: nn.Parameter(torch.randn(shape, generator=random)) for name, shape in SHAPES.items()
    }


def _groups(weights: dict[str, nn.Parameter], lr: float, decay: float) -> Groups:
    matrices = [weight for weight in weights.values() if weight.ndim > 1]
    vectors = [weight for weight in weights.values() if weight.ndim == 1]
    return [
        {"params": matrices, "lr": lr, "weight_decay": decay},
        {"params": vectors, "lr": lr, "weight_decay": 0.0},
    ]


def _walk(
    optimizer: Any,
    weights: dict[str, nn.Parameter],
    lr: float = 1e-2,
    decay: float = 0.1,
    steps: int = STEPS,
    noise: float = 0.3,
    config: Any = None,
    stored_at: int | None = None,
) -> None:
    """Walk down a sum of squares, with noisy gradients."""
    made = optimizer(config or optimizer.Config())
    steppers = made.steppers(_groups(weights, lr, decay))
    peaks = [[group["lr"] for group in stepper.param_groups] for stepper in steppers]
    for step in range(steps):
        if step == stored_at:
            tensors, scalars = saved(steppers, weights)
            steppers = made.steppers(_groups(weights, lr, decay))
            restore(steppers, weights, tensors, scalars)
        random = torch.Generator().manual_seed(step)
        for weight in weights.values():
            weight.grad = 2 * weight.detach() + noise * torch.randn(weight.shape, generator=random)
        for stepper, rates in zip(steppers, peaks, strict=True):
            for group, peak in zip(stepper.param_groups, rates, strict=True):
                group["lr"] = peak / (1 + step)
            stepper.step()
            stepper.zero_grad()


def _height(weights: dict[str, nn.Parameter]) -> float:
    return sum(float((weight.detach() ** 2).sum()) for weight in weights.values())


def _same(first: dict[str, nn.Parameter], second: dict[str, nn.Parameter]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def _planted(
    lr: float = 0.1,
    sign: float = 1.0,
    fixed_rate: float | None = None,
    decays: bool = True,
    twice: bool = False,
    forgets: bool = False,
    deaf: bool = False,
) -> Any:
    class Stepper(PlainStepper):
        def __init__(self, groups: Groups, momentum: float) -> None:
            super().__init__(groups)
            self.momentum, self.hidden = momentum, 0.0

        def move(
            self, weights: list[Tensor], gradients: list[Tensor], lr: float, decay: float
        ) -> None:
            self.hidden += 1.0 if forgets else 0.0
            sums = self.held(weights, "sum")
            for weight, gradient, total in zip(weights, gradients, sums, strict=True):
                total.mul_(self.momentum).add_(gradient)
                weight.mul_(1 - lr * decay if decays else 1.0)
                rate = lr if fixed_rate is None else fixed_rate
                weight.sub_(sign * rate * (1 + self.hidden) * total)

    class Planted:
        """An optimizer with a defect. Source: none."""

        class Config(Config):
            momentum: float = 0.5

        def __init__(self, config: Any) -> None:
            self.config = config

        def steppers(self, groups: Groups) -> list[Any]:
            momentum = 0.5 if deaf else self.config.momentum
            return [Stepper(groups, momentum) for _ in range(1 + twice)]

    Planted.lr = lr  # type: ignore[attr-defined]
    return Planted
