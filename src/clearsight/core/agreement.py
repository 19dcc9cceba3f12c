"""When two ways to run one model agree: the figures behind the parity gate and golden pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearsight.core.errors import DataError
from clearsight.core.nouns import Scores

MAX_DIFFERENCE = 1e-3  # largest |dp| between the model as trained and an fp32 engine
MIN_SAME_LABEL = 0.999
TIE = 1e-5  # classes whose probabilities are nearer than this may change places


@dataclass(frozen=True)
class Agreement:
    """How far two sets of probabilities for the same pictures agree.

    Args:
        n: number of pictures.
        same_label: share of pictures whose best class is the same (ties within 1e-5 count).
        max_difference: largest difference of a probability; NaN when one is not finite.
    """

    n: int
    same_label: float
    max_difference: float

    @property
    def holds(self) -> bool:
        """Same labels for 99.9 % and no probability off by more than 1e-3."""
        return self.same_label >= MIN_SAME_LABEL and self.max_difference <= MAX_DIFFERENCE


def agreement(wanted: Scores, got: Scores) -> Agreement:
    """Compare probabilities with those they should be.

    Args:
        wanted: (n, classes) probabilities, n >= 1.
        got: the same shape.

    Raises:
        DataError: different or empty shapes.

    Example:
        >>> agreement(np.array([[0.9, 0.1]]), np.array([[0.2, 0.8]])).same_label
        0.0
    """
    if wanted.shape != got.shape or wanted.ndim != 2 or wanted.size == 0:
        raise DataError(f"Scores of shape {got.shape} cannot be compared with {wanted.shape}.")
    behind = wanted.max(axis=1) - wanted[np.arange(len(wanted)), got.argmax(axis=1)]
    return Agreement(
        n=len(wanted),
        same_label=float((behind <= TIE).mean()),
        max_difference=float(np.abs(wanted - got).max()),
    )
