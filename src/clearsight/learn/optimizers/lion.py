"""Lion: the sign of a blend of gradient and momentum."""

from __future__ import annotations

from typing import ClassVar

import torch

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.optimizers import Beta, Groups, Stepper
from clearsight.learn.optimizers._stepper import PlainStepper, Tensors


class Lion:
    """Every weight moves by the learning rate, up or down; wants a rate 3 to 10 times below Adam's.

    Args:
        config: its options.

    Source:
        Chen et al., Symbolic Discovery of Optimization Algorithms (2023), algorithm 2.
    """

    class Config(BaseConfig):
        """Options of the optimizer.

        Args:
            betas: how much of the momentum is in a step, and how slowly momentum follows gradients.
        """

        betas: tuple[Beta, Beta] = (0.9, 0.99)

    lr: ClassVar[float] = 1e-4

    def __init__(self, config: Lion.Config) -> None:
        self.config = config

    def steppers(self, groups: Groups) -> list[Stepper]:
        """Return one stepper for all groups."""
        return [_LionStepper(groups, self.config.betas)]


class _LionStepper(PlainStepper):
    def __init__(self, groups: Groups, betas: tuple[float, float]) -> None:
        super().__init__(groups)
        self.betas = betas

    def move(self, weights: Tensors, gradients: Tensors, lr: float, decay: float) -> None:
        blend, slow = self.betas
        momentum = self.held(weights, "momentum")
        steps = torch._foreach_lerp(momentum, gradients, 1 - blend)
        torch._foreach_sign_(steps)
        if decay:
            torch._foreach_mul_(weights, 1 - lr * decay)
        torch._foreach_add_(weights, steps, alpha=-lr)
        torch._foreach_lerp_(momentum, gradients, 1 - slow)
