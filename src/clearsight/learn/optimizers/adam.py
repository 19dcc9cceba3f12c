"""Adam, weight decay as part of the gradient."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.optimizers import Beta, Groups, Stepper
from clearsight.learn.optimizers._adaptive import AdaptiveStepper


class Adam:
    """Steps of about the learning rate for every weight, by running means of its gradient.

    Args:
        config: its options.

    Source:
        Kingma and Ba, Adam: A Method for Stochastic Optimization (2015), algorithm 1.
    """

    class Config(BaseConfig):
        """Options of the optimizer.

        Args:
            betas: of the running means of gradients and squared gradients.
            eps: added to the root of the mean square.
        """

        betas: tuple[Beta, Beta] = (0.9, 0.999)
        eps: float = Field(default=1e-8, gt=0)

    lr: ClassVar[float] = 1e-3

    def __init__(self, config: Adam.Config) -> None:
        self.config = config

    def steppers(self, groups: Groups) -> list[Stepper]:
        """Return one stepper for all groups."""
        return [AdaptiveStepper(groups, self.config.betas, self.config.eps, decoupled=False)]
