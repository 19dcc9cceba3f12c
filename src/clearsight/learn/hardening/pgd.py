"""Adversarial training by projected gradient ascent."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.learn.hardening import Step
from clearsight.learn.hardening._adversarial import EPS, Adversarial, ascended, uniform


class Pgd(Adversarial):
    """The loss on pictures moved by several steps to where it is large (infinity norm).

    Args:
        config: how far, in how many steps.

    Source:
        Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks (2018).
    """

    class Config(BaseConfig):
        """Options of the hardening.

        Args:
            eps: largest change of a value, as a share of the pixel range.
            steps: of the attack; each costs as much as a plain training step.
            step_share: length of a step, as a share of eps.
        """

        eps: float = Field(default=EPS, gt=0, le=0.5)
        steps: int = Field(default=7, ge=1, le=100)
        step_share: float = Field(default=0.25, gt=0, le=2)

    @property
    def cost(self) -> float:
        """Forward passes of a step."""
        return float(self.config.steps + 1)

    def loss(self, step: Step) -> Tensor:
        """Return the loss on the moved pictures."""
        radius, options = 255 * self.config.eps, self.config
        pixels = step.pixels(step.images_nhwc)
        start = pixels + uniform(pixels, radius, step.random)
        size = options.step_share * radius
        moved = ascended(step, pixels, start, radius, size, options.steps, step.loss)
        return step.loss(step.logits(moved))
