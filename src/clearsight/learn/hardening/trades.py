"""TRADES: accuracy on plain pictures, and scores that an attack cannot move."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Task
from clearsight.learn.hardening import Step
from clearsight.learn.hardening._adversarial import (
    EPS,
    Adversarial,
    ascended,
    kept_statistics,
)
from clearsight.learn.hardening._pictures import SINGLE

START = 0.001 * 255
"""Standard deviation of the noise that the attack starts with: the picture itself has no slope."""


class Trades(Adversarial):
    """The loss on plain pictures, and how far an attack within the ball can move their scores.

    Args:
        config: how far, in how many steps, and how much the second part counts.

    Source:
        Zhang et al., Theoretically Principled Trade-off between Robustness and Accuracy (2019),
        algorithm 1.
    """

    class Config(BaseConfig):
        """Options of the hardening.

        Args:
            eps: largest change of a value, as a share of the pixel range.
            steps: of the attack; each costs as much as a plain training step.
            step_share: length of a step, as a share of eps.
            beta: weight of the second part: more holds better and costs clean accuracy.
        """

        eps: float = Field(default=EPS, gt=0, le=0.5)
        steps: int = Field(default=7, ge=1, le=100)
        step_share: float = Field(default=0.25, gt=0, le=2)
        beta: float = Field(default=6.0, gt=0, le=100)

    tasks: ClassVar[tuple[Task, ...]] = SINGLE

    @property
    def cost(self) -> float:
        """Forward passes of a step."""
        return float(self.config.steps + 3)

    def loss(self, step: Step) -> Tensor:
        """Return the loss of plain pictures and the weighted divergence of the moved ones."""
        radius, options = 255 * self.config.eps, self.config
        pixels = step.pixels(step.images_nhwc)
        with torch.no_grad(), kept_statistics(step.network):
            target = F.softmax(step.logits(pixels), 1)
        noise = START * torch.randn(pixels.shape, generator=step.random)
        start = pixels + noise.to(pixels.device)
        size = options.step_share * radius

        def moves(logits: Tensor) -> Tensor:
            return F.kl_div(F.log_softmax(logits, 1), target, reduction="batchmean")

        moved = ascended(step, pixels, start, radius, size, options.steps, moves)
        plain = step.logits(pixels)
        attacked = F.log_softmax(step.logits(moved), 1)
        divergence = F.kl_div(attacked, F.softmax(plain, 1), reduction="batchmean")
        total: Tensor = step.loss(plain) + options.beta * divergence
        return total
