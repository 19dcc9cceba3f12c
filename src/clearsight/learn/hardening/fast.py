"""Adversarial training by one step from a random start."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.hardening import Step
from clearsight.learn.hardening._adversarial import EPS, Adversarial, ascended, uniform


class Fast(Adversarial):
    """The loss on pictures moved by one step from a random place of the ball.

    It costs two passes a step. Long training can end in weights that only hold against the one
    step; the weights kept are chosen by an attack of many steps on validation pictures, so those
    from before it are kept.

    Args:
        config: how far, from where.

    Source:
        Wong et al., Fast is Better than Free: Revisiting Adversarial Training (2020), algorithm 3.
    """

    class Config(BaseConfig):
        """Options of the hardening.

        Args:
            eps: largest change of a value, as a share of the pixel range.
            step_share: length of the step, as a share of eps.
            start_share: reach of the random start, as a share of eps.
        """

        eps: float = Field(default=EPS, gt=0, le=0.5)
        step_share: float = Field(default=1.25, gt=0, le=4)
        start_share: float = Field(default=1.0, ge=0, le=1)

    @property
    def cost(self) -> float:
        """Forward passes of a step."""
        return 2.0

    def loss(self, step: Step) -> Tensor:
        """Return the loss on the moved pictures."""
        radius, options = 255 * self.config.eps, self.config
        pixels = step.pixels(step.images_nhwc)
        start = pixels + uniform(pixels, options.start_share * radius, step.random)
        size = options.step_share * radius
        moved = ascended(step, pixels, start, radius, size, 1, step.loss)
        return step.loss(step.logits(moved))
