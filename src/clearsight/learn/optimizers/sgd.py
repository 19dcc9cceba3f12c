"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.optimizers import Groups, Stepper
from clearsight.learn.optimizers._stepper import PlainStepper, Tensors


class Sgd:
    """Moves along a decaying sum of gradients; with `nesterov` it looks one step ahead.

    Args:
        config: its options.

    Source:
        Sutskever et al., On the importance of initialization and momentum in deep learning
        (2013), sections 2 and 3, in the form torch.optim.SGD has.
    """

    class Config(BaseConfig):
        """Options of the optimizer.

        Args:
            momentum: of the decaying sum; 0 for none.
            nesterov: look ahead; needs momentum.
        """

        momentum: float = Field(default=0.9, ge=0, lt=1)
        nesterov: bool = True

        @model_validator(mode="before")
        @classmethod
        def _nothing_ahead(cls, values: Any) -> Any:
            if isinstance(values, dict) and values.get("momentum") == 0:
                return {"nesterov": False, **values}
            return values

        @model_validator(mode="after")
        def _ahead_of_something(self) -> Sgd.Config:
            if self.nesterov and not self.momentum:
                raise ValueError("nesterov looks ahead along the momentum; give one above 0")
            return self

    lr: ClassVar[float] = 0.1

    def __init__(self, config: Sgd.Config) -> None:
        self.config = config

    def steppers(self, groups: Groups) -> list[Stepper]:
        """Return one stepper for all groups."""
        return [_SgdStepper(groups, self.config.momentum, self.config.nesterov)]


class _SgdStepper(PlainStepper):
    def __init__(self, groups: Groups, momentum: float, nesterov: bool) -> None:
        super().__init__(groups)
        self.momentum, self.nesterov = momentum, nesterov

    def move(self, weights: Tensors, gradients: Tensors, lr: float, decay: float) -> None:
        if decay:
            gradients = list(torch._foreach_add(gradients, weights, alpha=decay))
        if self.momentum:
            sums = self.held(weights, "momentum")
            torch._foreach_mul_(sums, self.momentum)
            torch._foreach_add_(sums, gradients)
            ahead = torch._foreach_add(gradients, sums, alpha=self.momentum)
            gradients = list(ahead) if self.nesterov else sums
        torch._foreach_add_(weights, gradients, alpha=-lr)
