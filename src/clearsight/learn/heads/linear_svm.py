"""Linear support vector machine: squared hinge, one class against the rest."""

from __future__ import annotations

from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.progress import Progress
from clearsight.learn.heads import Features, Labels
from clearsight.learn.heads._linear import FittedLinear, fit_linear


class LinearSvm:
    """Minimises mean_i sum_k max(0, 1 - y_ik (w_k x_i + b_k))^2 + s/2 |w|^2 on scaled features.

    y_ik is 1 for the row's own class and -1 for every other; x has mean 0 and deviation 1.

    Source: Fan et al., "LIBLINEAR", JMLR 2008 (the objective; C = 1 / (s n)).
    """

    class Config(BaseConfig):
        """Options of the head.

        Args:
            strengths: L2 penalties s to choose from on validation.
        """

        strengths: tuple[float, ...] = Field(default=(0.3, 0.03, 3e-3), min_length=1)

    def __init__(self, config: LinearSvm.Config) -> None:
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
        return fit_linear("squared-hinge", train, val, classes, strengths, deadline, progress)
