"""Grad-CAM: the last map's channels, weighted by their mean gradients."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from clearsight.core.config import Config
from clearsight.core.nouns import ImagesNHWC
from clearsight.explain.explainer import Maps, Needs
from clearsight.explain.methods._layer import enlarged, layer_gradient
from clearsight.explain.question import Question
from clearsight.explain.subject import Subject


class GradCamConfig(Config):
    """Grad-CAM has no options: the layer is found."""


class GradCam:
    """Weights every channel of the deepest map by the mean of its gradient; keeps what is positive.

    Args:
        config: its options.

    Source:
        Selvaraju et al., Grad-CAM (2017), section 3, equations 1 and 2.

    Example:
        >>> GradCam(GradCamConfig()).needs
        'gradients'
    """

    Config: ClassVar[type[Config]] = GradCamConfig
    needs: ClassVar[Needs] = "gradients"
    complete: ClassVar[bool] = False
    compares: ClassVar[bool] = True

    def __init__(self, config: GradCamConfig) -> None:
        self.config = config

    def maps(self, subject: Subject, images_nhwc: ImagesNHWC, question: Question) -> Maps:
        """Return one map a picture; see `Explainer.maps`."""
        seen = layer_gradient(subject, images_nhwc, question)
        weights = seen.gradients.mean(axis=(2, 3))
        found = np.einsum("nchw,nc->nhw", seen.values, weights)
        return enlarged(np.maximum(found, 0), images_nhwc)
