"""Adam with decoupled weight decay."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.optimizers import Beta, Groups, Stepper
from clearsight.learn.optimizers._adaptive import AdaptiveStepper


class Adamw:
    """Adam whose weight decay shrinks the weights directly, at learning rate times decay.

    Args:
        config: its options.

    Source:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization (2019), algorithm 2.
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

    def __init__(self, config: Adamw.Config) -> None:
        self.config = config

    def steppers(self, groups: Groups) -> list[Stepper]:
        """Return one stepper for all groups."""
        return [AdaptiveStepper(groups, self.config.betas, self.config.eps)]
