"""Grad-CAM++: weights that count every place where a channel helps."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from clearsight.core.config import Config
from clearsight.core.nouns import ImagesNHWC
from clearsight.explain.explainer import Maps, Needs
from clearsight.explain.methods._layer import enlarged, layer_gradient
from clearsight.explain.question import Question
from clearsight.explain.subject import Subject

SMALLEST = 1e-12


class GradCamPlusPlusConfig(Config):
    """Grad-CAM++ has no options: the layer is found."""


class GradCamPlusPlus:
    """Weights a channel by its positive gradients, each counted by its share of the evidence.

    Args:
        config: its options.

    Source:
        Chattopadhay et al., Grad-CAM++ (2018), section 3.2, equations 10, 11 and 19 (of the
        exponential of the score, whose derivatives are powers of the gradient).

    Example:
        >>> GradCamPlusPlus(GradCamPlusPlusConfig()).needs
        'gradients'
    """

    Config: ClassVar[type[Config]] = GradCamPlusPlusConfig
    needs: ClassVar[Needs] = "gradients"
    complete: ClassVar[bool] = False
    compares: ClassVar[bool] = True

    def __init__(self, config: GradCamPlusPlusConfig) -> None:
        self.config = config

    def maps(self, subject: Subject, images_nhwc: ImagesNHWC, question: Question) -> Maps:
        """Return one map a picture; see `Explainer.maps`."""
        seen = layer_gradient(subject, images_nhwc, question)
        slope, maps = seen.gradients.astype(np.float64), seen.values.astype(np.float64)
        total = maps.sum(axis=(2, 3), keepdims=True)
        below = 2 * slope**2 + total * slope**3
        share = np.where(np.abs(below) > SMALLEST, slope**2 / np.where(below == 0, 1, below), 0)
        weights = (share * np.maximum(slope, 0)).sum(axis=(2, 3))
        found = np.einsum("nchw,nc->nhw", maps, weights)
        return enlarged(np.maximum(found, 0).astype(np.float32), images_nhwc)
