"""Which kind of conformal set serves best, by cross-validation on held-out pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearsight.core.conformal import (
    LEAST_OF_A_CLASS,
    SET_METHODS,
    SetMethod,
    check_enough,
    fit_part,
)
from clearsight.core.nouns import Scores
from clearsight.core.seeds import generator

FOLDS = 5
CHOSEN_AT = 90
"""Per cent; the level at which the kinds of set are compared."""
MOST_BEHIND = 0.10
"""A class may be covered by so much less than was promised for all pictures together."""
MOST_NUMBERS = 5_000_000


@dataclass(frozen=True, slots=True)
class Trial:
    """What one kind of set gave in cross-validation at 90 %.

    Args:
        method: the kind.
        coverage: share of pictures whose true class is in their set.
        mean_size: classes a set.
        worst_class_coverage: of the classes with at least 20 pictures; None where there is none.
        n: pictures.
    """

    method: SetMethod
    coverage: float
    mean_size: float
    worst_class_coverage: float | None
    n: int

    @property
    def fair(self) -> bool:
        """Whether no class is covered far less than was promised."""
        worst = self.worst_class_coverage
        return worst is None or worst >= CHOSEN_AT / 100 - MOST_BEHIND


def try_sets(
    probabilities: Scores, labels: NDArray[np.integer], classes: Sequence[str]
) -> list[Trial]:
    """Return what every kind of set gives in 5-fold cross-validation.

    Args:
        probabilities: (n, k) calibrated, held out; at most 5 million of the numbers are used.
        labels: (n,) indices of the true classes.
        classes: k names.

    Raises:
        DataError: too few pictures, see `fit_conformal`.
    """
    check_enough(len(labels))
    order = generator(0, "sets").permutation(len(labels))
    order = order[: max(1, MOST_NUMBERS // probabilities.shape[1])]
    shares, truth = probabilities[order], np.asarray(labels, dtype=np.int64)[order]
    fold = np.arange(len(truth)) % FOLDS
    return [_try(method, shares, truth, fold, classes) for method in SET_METHODS]


def best_sets(trials: Sequence[Trial]) -> Trial:
    """Return the kind with the smallest sets of those that leave no class far behind.

    Where all of them leave one behind, the one that leaves it behind least.
    """
    fair = [trial for trial in trials if trial.fair]
    if fair:
        return min(fair, key=lambda trial: trial.mean_size)
    return max(trials, key=lambda trial: trial.worst_class_coverage or 0.0)


def _try(
    method: SetMethod,
    shares: Scores,
    truth: NDArray[np.int64],
    fold: NDArray[np.int64],
    classes: Sequence[str],
) -> Trial:
    rows = np.arange(len(truth))
    covered, sizes = np.zeros(len(truth), np.bool_), np.zeros(len(truth), np.int64)
    for number in range(FOLDS):
        inside = fold == number
        fitted = fit_part(shares[~inside], truth[~inside], method, classes, CHOSEN_AT)
        sets = fitted.sets(shares[inside])
        covered[inside] = sets[rows[: len(sets)], truth[inside]]
        sizes[inside] = sets.sum(axis=1)
    counts = np.bincount(truth, minlength=len(classes))
    hits = np.bincount(truth[covered], minlength=len(classes))
    judged = counts >= LEAST_OF_A_CLASS
    worst = float((hits[judged] / counts[judged]).min()) if judged.any() else None
    return Trial(method, float(covered.mean()), float(sizes.mean()), worst, len(truth))
