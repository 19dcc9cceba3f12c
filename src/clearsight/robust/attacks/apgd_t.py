"""APGD-T: steps of a length that adapts, towards one likely wrong class after the other."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Differentiable, PixelsNHWC
from clearsight.robust.attacks import Labels
from clearsight.robust.auto_pgd import auto_pgd
from clearsight.robust.steps import TARGETED_RATIO, fooled


class ApgdT:
    """Auto-PGD on the targeted difference-of-logits ratio.

    Args:
        config: number of steps and of classes aimed at.

    Source: Croce and Hein 2020, "Reliable Evaluation of Adversarial Robustness with an Ensemble of
        Diverse Parameter-free Attacks".
    """

    black_box: ClassVar[bool] = False
    baseline: ClassVar[str] = "fgsm"

    class Config(BaseConfig):
        """Options of the attack.

        Args:
            steps: how many for each class.
            targets: how many wrong classes are tried, the likeliest first.
        """

        steps: int = Field(default=100, ge=1, le=10_000)
        targets: int = Field(default=9, ge=1, le=1000)

    def __init__(self, config: ApgdT.Config) -> None:
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
        likely = np.argsort(-model.logits(pixels_nhwc), axis=1, kind="stable")
        others = likely[likely != labels[:, None]].reshape(len(labels), -1)
        found = pixels_nhwc.copy()
        left = np.arange(len(labels))
        for rank in range(min(self.config.targets, others.shape[1])):
            tried = auto_pgd(
                model,
                pixels_nhwc[left],
                labels[left],
                radius,
                random,
                self.config.steps,
                TARGETED_RATIO,
                others[left, rank],
            )
            found[left] = tried
            left = left[~fooled(model.logits(tried), labels[left])]
            if not len(left):
                break
        return found
