"""What every metric looks at: probabilities beside the truth, cheap to resample."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import DataError
from clearsight.core.nouns import Scores, Task


class Scored:
    """Probabilities of n pictures over k classes, with the true labels.

    What most metrics need of a row (its best class, that class's score, the truth's score) is
    worked out once and shared by every resample, so a bootstrap costs n and not n times k.

    Args:
        probabilities: (n, k) in [0, 1], rows sum to 1.
        labels: (n,) indices of the true classes, in [0, k).
        task: "ordinal" when the classes are a scale, else "single-label".

    Raises:
        DataError: nothing to score, shapes do not fit, a label outside [0, k), or rows that are
            no probabilities.
    """

    def __init__(
        self, probabilities: Scores, labels: NDArray[np.integer], task: Task = "single-label"
    ) -> None:
        rows = np.asarray(probabilities, dtype=np.float32)
        truth = np.asarray(labels, dtype=np.int64)
        _check(rows, truth)
        self._hold(rows, truth, task)

    def _hold(self, rows: Scores, truth: NDArray[np.int64], task: Task) -> None:
        self._rows, self._truth, self.task = rows, truth, task
        self._whole: Scored = self
        self._indices: NDArray[np.int64] | None = None

    def resample(self, indices: NDArray[np.int64]) -> Scored:
        """Return the pictures at `indices` (m,) int64, which may repeat."""
        part = object.__new__(type(self))
        part._whole, part._indices, part.task = self, indices, self.task
        return part

    @property
    def n(self) -> int:
        """How many pictures there are."""
        return len(self.labels)

    @property
    def k(self) -> int:
        """How many classes the recognizer has."""
        if self._indices is not None:
            return self._whole.k
        return int(self._rows.shape[1])

    @cached_property
    def probabilities(self) -> Scores:
        """(n, k) float32."""
        if self._indices is not None:
            return self._whole.probabilities[self._indices]
        return self._rows

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(n,) int64, the true classes."""
        if self._indices is not None:
            return self._whole.labels[self._indices]
        return self._truth

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) int64, the best class of each row; the first of equals."""
        if self._indices is not None:
            return self._whole.predicted[self._indices]
        return np.asarray(self._rows.argmax(axis=1), dtype=np.int64)

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """(n,) float64, the best class's probability."""
        if self._indices is not None:
            return self._whole.confidence[self._indices]
        return np.asarray(self._rows.max(axis=1), dtype=np.float64)

    @cached_property
    def truth_probability(self) -> NDArray[np.float64]:
        """(n,) float64, the true class's probability."""
        if self._indices is not None:
            return self._whole.truth_probability[self._indices]
        own = self._rows[np.arange(len(self._truth)), self._truth]
        return np.asarray(own, dtype=np.float64)

    @cached_property
    def square_sum(self) -> NDArray[np.float64]:
        """(n,) float64, the sum of the row's squared probabilities."""
        if self._indices is not None:
            return self._whole.square_sum[self._indices]
        squares = np.einsum("nk,nk->n", self._rows, self._rows, dtype=np.float64)
        return np.asarray(squares)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """(n,) bool, whether the best class is the true one."""
        return np.asarray(self.predicted == self.labels)

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,) bool, whether each answer of `confidence` is right."""
        return self.correct

    @property
    def targets(self) -> NDArray[np.int64]:
        """(n, k) int64, 1 for the true class."""
        return np.asarray(np.eye(self.k, dtype=np.int64)[self.labels])

    @cached_property
    def support(self) -> NDArray[np.int64]:
        """(k,) int64, pictures of each class."""
        return np.bincount(self.labels, minlength=self.k)

    @cached_property
    def predictions(self) -> NDArray[np.int64]:
        """(k,) int64, pictures taken for each class."""
        return np.bincount(self.predicted, minlength=self.k)

    @cached_property
    def hits(self) -> NDArray[np.int64]:
        """(k,) int64, pictures of each class that were recognised."""
        return np.bincount(self.labels[self.correct], minlength=self.k)

    @property
    def recalls(self) -> NDArray[np.float64]:
        """Recalls (m,) float64 of the m classes that have a picture."""
        present = self.support > 0
        return np.asarray(self.hits[present] / self.support[present])

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(k, k) int64, rows are the truth, columns the prediction."""
        cells = np.bincount(self.labels * self.k + self.predicted, minlength=self.k**2)
        return cells.reshape(self.k, self.k)


def _check(rows: Scores, truth: NDArray[np.int64]) -> None:
    if rows.ndim != 2 or truth.shape != rows.shape[:1]:
        raise DataError(
            "Scoring needs probabilities (n, k) and labels (n,), "
            f"got {rows.shape} and {truth.shape}."
        )
    if rows.size == 0:
        raise DataError("There is no labelled picture to score.")
    if not 0 <= int(truth.min()) <= int(truth.max()) < rows.shape[1]:
        raise DataError(
            f"Labels must be in [0, {rows.shape[1]}), got {int(truth.min())} to {int(truth.max())}."
        )
    sums = rows.sum(axis=1, dtype=np.float64)
    if not (np.isfinite(sums).all() and rows.min() >= 0 and np.abs(sums - 1).max() < 1e-3):
        raise DataError(
            "The recognizer gave scores that are no probabilities (not finite, negative, or not "
            "adding up to 1). Train it again; the figures would mean nothing."
        )
