"""Multinomial logistic regression."""

from __future__ import annotations

from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.progress import Progress
from clearsight.learn.heads import Features, Labels
from clearsight.learn.heads._linear import FittedLinear, fit_linear


class Logistic:
    """Minimises mean_i -log softmax(W x_i + b)[y_i] + s/2 |W|^2 on scaled features.

    Source: Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2009,
        section 4.4 and 18.3.2 (the penalty).
    """

    class Config(BaseConfig):
        """Options of the head.

        Args:
            strengths: L2 penalties s to choose from on validation.
        """

        strengths: tuple[float, ...] = Field(
            default=(1.0, 0.3, 0.1, 0.03, 0.01, 3e-3), min_length=1
        )

    def __init__(self, config: Logistic.Config) -> None:
        self.config = config

    def fit(
        self,
        train: tuple[Features, Labels],
        val: tuple[Features, Labels],
        classes: int,
        seed: int,
        deadline: float | None,
        progress: Progress,
    ) -> FittedLinear:
        """Fit the strengths in turn; there is no randomness, so `seed` changes nothing."""
        strengths = self.config.strengths
        return fit_linear("softmax", train, val, classes, strengths, deadline, progress)
