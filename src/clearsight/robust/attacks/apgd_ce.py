"""APGD-CE: steps of a length that adapts, up the log-loss."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Differentiable, PixelsNHWC
from clearsight.robust.attacks import Labels
from clearsight.robust.auto_pgd import auto_pgd
from clearsight.robust.steps import CROSS_ENTROPY


class ApgdCe:
    """Auto-PGD on the cross-entropy.

    Args:
        config: number of steps.

    Source: Croce and Hein 2020, "Reliable Evaluation of Adversarial Robustness with an Ensemble of
        Diverse Parameter-free Attacks".
    """

    black_box: ClassVar[bool] = False
    baseline: ClassVar[str] = "fgsm"

    class Config(BaseConfig):
        """Options of the attack.

        Args:
            steps: how many.
        """

        steps: int = Field(default=100, ge=1, le=10_000)

    def __init__(self, config: ApgdCe.Config) -> None:
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
        steps = self.config.steps
        return auto_pgd(model, pixels_nhwc, labels, radius, random, steps, CROSS_ENTROPY)
