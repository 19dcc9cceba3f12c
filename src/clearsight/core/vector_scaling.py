"""Vector scaling: a factor and an offset for every class, where one temperature is not enough."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from clearsight.core.config import Config


class VectorScaling(Config):
    """What every class's score is multiplied with and what is added, after the temperature.

    Args:
        weights: one positive factor a class, in the order of the classes.
        biases: one offset a class, in nats.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.

    Example:
        >>> scaling = VectorScaling(weights=(1.0, 2.0), biases=(0.5, 0.0))
        >>> scaling.apply(np.array([[1.0, 1.0]])).tolist()
        [[1.5, 2.0]]
    """

    weights: tuple[float, ...] = Field(min_length=2)
    biases: tuple[float, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _fitting(self) -> VectorScaling:
        if len(self.weights) != len(self.biases):
            raise ValueError("there must be as many biases as weights")
        if min(self.weights) <= 0:
            raise ValueError("weights must be greater than 0")
        return self

    def apply(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return scores (n, k) multiplied and shifted class by class."""
        scores = np.asarray(logits, dtype=np.float64)
        return np.asarray(scores * np.asarray(self.weights) + np.asarray(self.biases))
