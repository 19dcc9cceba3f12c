"""LayerCAM: every place of a map weighted by its own gradient; finer layers join in."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from clearsight.core.config import Config
from clearsight.core.nouns import ImagesNHWC
from clearsight.explain.explainer import Maps, Needs
from clearsight.explain.methods._layer import enlarged, layer_gradient
from clearsight.explain.question import Question
from clearsight.explain.subject import Subject

GAIN = 2.0
"""How strongly finer layers are lifted before they join, as published."""


class LayerCamConfig(Config):
    """How many layers take part.

    Args:
        layers: the deepest ones, one of every size.
    """

    layers: int = Field(default=2, ge=1, le=8)


class LayerCam:
    """Weights every place by its positive gradient; the largest of several layers counts.

    Args:
        config: its options.

    Source:
        Jiang et al., LayerCAM (2021), section III, equations 5 and 6, and III-C (layers joined).

    Example:
        >>> LayerCam(LayerCamConfig(layers=1)).config.layers
        1
    """

    Config: ClassVar[type[Config]] = LayerCamConfig
    needs: ClassVar[Needs] = "gradients"
    complete: ClassVar[bool] = False
    compares: ClassVar[bool] = True

    def __init__(self, config: LayerCamConfig) -> None:
        self.config = config

    def maps(self, subject: Subject, images_nhwc: ImagesNHWC, question: Question) -> Maps:
        """Return one map a picture; see `Explainer.maps`."""
        found: Maps = self._of_layer(subject, images_nhwc, question, 0)
        for depth in range(1, min(self.config.layers, len(subject.live.layers))):
            finer = np.tanh(GAIN * self._of_layer(subject, images_nhwc, question, depth))
            found = np.asarray(np.maximum(found, finer), dtype=np.float32)
        return found

    @staticmethod
    def _of_layer(
        subject: Subject, images_nhwc: ImagesNHWC, question: Question, depth: int
    ) -> Maps:
        """Return one layer's maps, each with 1 as its largest value."""
        seen = layer_gradient(subject, images_nhwc, question, depth)
        found = np.maximum((np.maximum(seen.gradients, 0) * seen.values).sum(axis=1), 0)
        maps = enlarged(found, images_nhwc)
        highest = maps.max(axis=(1, 2), keepdims=True)
        scaled: Maps = (maps / np.where(highest > 0, highest, 1)).astype(np.float32)
        return scaled
