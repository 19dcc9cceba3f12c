"""When two ways to run one model agree: the figures behind the parity gate and golden pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearsight.core.errors import DataError
from clearsight.core.nouns import Scores

MAX_DIFFERENCE = 1e-3  # largest |dp| between the model as trained and an fp32 engine
MIN_SAME_LABEL = 0.999
TIE = 1e-5  # classes whose probabilities are nearer than this may change places
STEP = 0.05  # largest |dp| where scores change in steps, and ties of that size; see decision 0014


@dataclass(frozen=True)
class Agreement:
    """How far two sets of probabilities for the same pictures agree.

    Args:
        n: number of pictures.
        same_label: share of pictures whose best class is the same (ties within 1e-5 count).
        max_difference: largest difference of a probability; NaN when one is not finite.
        mean_difference: mean over pictures of each one's largest difference.
        steps: scores change in steps.
    """

    n: int
    same_label: float
    max_difference: float
    mean_difference: float
    steps: bool = False

    @property
    def allowed(self) -> float:
        """The largest difference that is allowed."""
        return STEP if self.steps else MAX_DIFFERENCE

    @property
    def holds(self) -> bool:
        """Same labels for 99.9 % and no probability off by more than is allowed.

        Where scores change in steps, single pictures may be off by one; the mean may not exceed
        what is allowed elsewhere.
        """
        near = self.max_difference <= self.allowed and self.mean_difference <= MAX_DIFFERENCE
        return self.same_label >= MIN_SAME_LABEL and near


def agreement(wanted: Scores, got: Scores, steps: bool = False) -> Agreement:
    """Compare probabilities with those they should be.

    Args:
        wanted: (n, classes) probabilities, n >= 1.
        got: the same shape.
        steps: scores change in steps (trees), so a rounding error of a feature may move one.

    Raises:
        DataError: different or empty shapes.

    Example:
        >>> agreement(np.array([[0.9, 0.1]]), np.array([[0.2, 0.8]])).same_label
        0.0
    """
    if wanted.shape != got.shape or wanted.ndim != 2 or wanted.size == 0:
        raise DataError(f"Scores of shape {got.shape} cannot be compared with {wanted.shape}.")
    behind = wanted.max(axis=1) - wanted[np.arange(len(wanted)), got.argmax(axis=1)]
    apart = np.abs(wanted - got).max(axis=1)
    return Agreement(
        n=len(wanted),
        same_label=float((behind <= (STEP if steps else TIE)).mean()),
        max_difference=float(apart.max()),
        mean_difference=float(apart.mean()),
        steps=steps,
    )
