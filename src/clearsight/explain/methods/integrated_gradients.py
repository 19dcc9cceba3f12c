"""Integrated Gradients: gradients summed up on the way from an empty picture."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config
from clearsight.core.nouns import ImageHWC, ImagesNHWC
from clearsight.explain.explainer import Maps, Needs
from clearsight.explain.fill import blurred, mean_colour
from clearsight.explain.question import Question
from clearsight.explain.subject import Subject

STEPS_AT_ONCE = 32


class IntegratedGradientsConfig(Config):
    """How finely it is summed up, and from where.

    Args:
        steps: gradients a picture.
        baseline: the empty picture: its mean colour, black, or the picture blurred.
    """

    steps: int = Field(default=32, ge=2, le=1000)
    baseline: Literal["mean", "black", "blurred"] = "mean"


class IntegratedGradients:
    """Sums gradients on the straight way from a baseline; a map sums to the scores' difference.

    Args:
        config: its options.

    Source:
        Sundararajan et al., Axiomatic Attribution for Deep Networks (2017), section 3; summed by
        Gauss and Legendre's rule.

    Example:
        >>> IntegratedGradients(IntegratedGradientsConfig()).complete
        True
    """

    Config: ClassVar[type[Config]] = IntegratedGradientsConfig
    needs: ClassVar[Needs] = "gradients"
    complete: ClassVar[bool] = True
    compares: ClassVar[bool] = True

    def __init__(self, config: IntegratedGradientsConfig) -> None:
        self.config = config

    def maps(self, subject: Subject, images_nhwc: ImagesNHWC, question: Question) -> Maps:
        """Return one map a picture; see `Explainer.maps`."""
        rows = [
            self._one(subject, image, question, number) for number, image in enumerate(images_nhwc)
        ]
        return np.stack(rows)

    def baseline(self, image_hwc: ImageHWC) -> NDArray[np.float32]:
        """Return the empty picture that one is compared with, float32 of the same shape."""
        if self.config.baseline == "black":
            return np.zeros(image_hwc.shape, np.float32)
        return (mean_colour if self.config.baseline == "mean" else blurred)(image_hwc)

    def _one(
        self, subject: Subject, image: ImageHWC, question: Question, number: int
    ) -> NDArray[np.float32]:
        points, shares = np.polynomial.legendre.leggauss(self.config.steps)
        points, shares = (points + 1) / 2, shares / 2
        empty = self.baseline(image)
        way = image.astype(np.float32) - empty
        total = np.zeros(image.shape, np.float64)
        for start in range(0, len(points), STEPS_AT_ONCE):
            part = slice(start, start + STEPS_AT_ONCE)
            places = points[part].astype(np.float32)[:, None, None, None]
            wanted = question.row(number, len(places)).weights(len(subject.classes))
            seen = subject.live.gradient(empty + places * way, lambda _, w=wanted: w)  # type: ignore[misc]
            total += np.tensordot(shares[part], seen.gradients.astype(np.float64), axes=1)
        found: NDArray[np.float32] = (way * total).sum(axis=2).astype(np.float32)
        return found
