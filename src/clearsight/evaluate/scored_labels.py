"""What every metric looks at when a picture may have any number of classes."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import DataError
from clearsight.core.nouns import PRESENT, Scores
from clearsight.evaluate.scored import Scored


class ScoredLabels(Scored):
    """Probabilities of n pictures over k classes that are present or not, each by itself.

    A class is taken for present from a probability of 0.5 on. A picture is correct when all its
    classes are right and none is named beside them (the exact match). `confidence`,
    `truth_probability` and `square_sum` are (n, k): every class of every picture is a question.

    Args:
        probabilities: (n, k) in [0, 1].
        labels: (n, k) of 0 and 1.

    Raises:
        DataError: nothing to score, shapes do not fit, or values that are no probabilities.
    """

    def __init__(self, probabilities: Scores, labels: NDArray[np.integer]) -> None:
        rows = np.asarray(probabilities, dtype=np.float32)
        truth = np.asarray(labels, dtype=np.int64)
        _check(rows, truth)
        self._hold(rows, truth, "multi-label")

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(n, k) int64, 1 where a class is taken for present."""
        return np.asarray(self.probabilities >= PRESENT, dtype=np.int64)

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """(n, k) float64, the probability of each answer."""
        shares = self.probabilities.astype(np.float64)
        return np.where(self.predicted == 1, shares, 1 - shares)

    @cached_property
    def truth_probability(self) -> NDArray[np.float64]:
        """(n, k) float64, the probability of each true answer."""
        shares = self.probabilities.astype(np.float64)
        return np.where(self.labels == 1, shares, 1 - shares)

    @cached_property
    def square_sum(self) -> NDArray[np.float64]:
        """(n, k) float64, what makes the Brier score the mean squared distance of each answer."""
        return np.asarray(np.square(self.truth_probability))

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """(n, k) bool, whether each answer is right."""
        return np.asarray(self.predicted == self.labels)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """(n,) bool, whether every answer of a picture is right."""
        return np.asarray(self.right.all(axis=1))

    @cached_property
    def support(self) -> NDArray[np.int64]:
        """(k,) int64, pictures with each class."""
        return np.asarray(self.labels.sum(axis=0))

    @cached_property
    def predictions(self) -> NDArray[np.int64]:
        """(k,) int64, pictures that were said to show each class."""
        return np.asarray(self.predicted.sum(axis=0))

    @cached_property
    def hits(self) -> NDArray[np.int64]:
        """(k,) int64, pictures with each class in which it was found."""
        return np.asarray((self.predicted * self.labels).sum(axis=0))

    @property
    def targets(self) -> NDArray[np.int64]:
        """(n, k) int64 of 0 and 1."""
        return self.labels

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(k, k) int64: pictures in which the row was missed and the column named wrongly.

        The diagonal holds the pictures in which the class was found.
        """
        missed = self.labels * (1 - self.predicted)
        wrongly = self.predicted * (1 - self.labels)
        return np.asarray(missed.T @ wrongly + np.diag(self.hits))


def _check(rows: Scores, truth: NDArray[np.int64]) -> None:
    if rows.ndim != 2 or truth.shape != rows.shape:
        raise DataError(
            "Scoring needs probabilities (n, k) and labels (n, k) of 0 and 1, "
            f"got {rows.shape} and {truth.shape}."
        )
    if rows.size == 0:
        raise DataError("There is no labelled picture to score.")
    if not np.isin(truth, (0, 1)).all():
        raise DataError("Labels of a multi-label data set must be 0 or 1.")
    if not (np.isfinite(rows).all() and rows.min() >= 0 and rows.max() <= 1):
        raise DataError(
            "The recognizer gave scores that are no probabilities (not finite or outside [0, 1]). "
            "Train it again; the figures would mean nothing."
        )
