"""PGD: many small steps along the sign of the gradient, from a random start."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Differentiable, PixelsNHWC
from clearsight.robust.attacks import Labels
from clearsight.robust.steps import CROSS_ENTROPY, fooled, project


class Pgd:
    """Projected gradient descent.

    A picture that is wrong is done. What remains after the steps is tried once more from the one
    long step (FGSM), so that it is never weaker than that.

    Args:
        config: number and length of the steps.

    Source: Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks".
    """

    black_box: ClassVar[bool] = False
    baseline: ClassVar[str] = "fgsm"

    class Config(BaseConfig):
        """Options of the attack.

        Args:
            steps: how many.
            step_share: length of a step, as a share of the radius.
        """

        steps: int = Field(default=20, ge=1, le=10_000)
        step_share: float = Field(default=0.125, gt=0, le=2)

    def __init__(self, config: Pgd.Config) -> None:
        self.config = config

    def __call__(
        self,
        model: Differentiable,
        pixels_nhwc: PixelsNHWC,
        labels: Labels,
        radius: float,
        random: np.random.Generator,
    ) -> PixelsNHWC:
        """Return changed pictures; see `Attack`."""
        noise = random.uniform(-radius, radius, pixels_nhwc.shape).astype(np.float32)
        found = project(pixels_nhwc + noise, pixels_nhwc, radius)
        step = np.float32(self.config.step_share * radius)
        left = self._descend(model, found, pixels_nhwc, labels, radius, step)
        if len(left):  # once more from the clean picture, with one long step first
            again, clean, truth = pixels_nhwc[left].copy(), pixels_nhwc[left], labels[left]
            slope = model.gradient(again, CROSS_ENTROPY.of(truth)).gradients
            step_out = np.asarray(np.float32(radius) * np.sign(slope), dtype=np.float32)
            again = project(again + step_out, clean, radius)
            still = self._descend(model, again, clean, truth, radius, step)
            won = np.setdiff1d(np.arange(len(left)), still)
            found[left[won]] = again[won]
        return found

    def _descend(
        self,
        model: Differentiable,
        current: PixelsNHWC,
        clean: PixelsNHWC,
        labels: Labels,
        radius: float,
        step: np.float32,
    ) -> Labels:
        """Change `current` step by step; return the places of those that are still right."""
        left = np.arange(len(labels))
        for _ in range(self.config.steps):
            slope = model.gradient(current[left], CROSS_ENTROPY.of(labels[left]))
            right = ~fooled(slope.logits, labels[left])
            left = left[right]
            if not len(left):
                return left
            ahead = np.asarray(step * np.sign(slope.gradients[right]), dtype=np.float32)
            current[left] = project(current[left] + ahead, clean[left], radius)
        return np.asarray(left[~fooled(model.logits(current[left]), labels[left])])
