"""FGSM: one step of the whole radius along the sign of the gradient."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Differentiable, PixelsNHWC
from clearsight.robust.attacks import Labels
from clearsight.robust.steps import CROSS_ENTROPY, project


class Fgsm:
    """The fast gradient sign method.

    Source: Goodfellow, Shlens and Szegedy 2015, "Explaining and Harnessing Adversarial Examples".
    """

    black_box: ClassVar[bool] = False
    baseline: ClassVar[str] = ""

    class Config(BaseConfig):
        """It has no options."""

    def __init__(self, config: Fgsm.Config) -> None:
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
        found = model.gradient(pixels_nhwc, CROSS_ENTROPY.of(labels))
        step = np.float32(radius) * np.sign(found.gradients)
        return project(pixels_nhwc + step, pixels_nhwc, radius)
