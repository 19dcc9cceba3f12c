"""Which classes have training pictures; the others get the lowest score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import DataError
from clearsight.core.nouns import Scores
from clearsight.learn.heads import Features, Labels
from clearsight.learn.heads._graph import HeadGraph


@dataclass(frozen=True)
class Present:
    """The classes that can be learnt, and the way back to all of them.

    Args:
        labels: ascending class numbers that have training pictures.
        classes: number of all classes.
    """

    labels: NDArray[np.int64]
    classes: int

    @classmethod
    def of(cls, labels: Labels, classes: int) -> Present:
        """Return what labels are there.

        Raises:
            DataError: no pictures, or a label outside [0, classes).
        """
        if len(labels) == 0:
            raise DataError("A head needs at least one training picture; got none.")
        found = np.unique(labels)
        if found[0] < 0 or found[-1] >= classes:
            raise DataError(
                f"Labels must be in [0, {classes}), got {int(found[0])} to {int(found[-1])}."
            )
        return cls(found, classes)

    def __len__(self) -> int:
        return len(self.labels)

    def compact(self, part: tuple[Features, Labels]) -> tuple[Features, Labels]:
        """Number the labels 0, 1, ...; rows of other classes are left out."""
        features, labels = part
        known = np.isin(labels, self.labels)
        if not known.all():
            features, labels = features[known], labels[known]
        return features, np.searchsorted(self.labels, labels)

    def widen(self, scores: Scores) -> Scores:
        """Return (n, classes) of (n, len(self)); classes without pictures get the minimum - 1."""
        if len(self) == self.classes:
            return scores
        lowest = scores.min(axis=1, keepdims=True, initial=np.inf) - np.float32(1)
        wide = np.repeat(lowest, self.classes, axis=1)
        wide[:, self.labels] = scores
        return wide

    def append(self, graph: HeadGraph, scores: str) -> bytes:
        """Finish a graph whose tensor `scores` is (n, len(self)), as `widen` does."""
        if len(self) < self.classes:
            minimum = graph.add("ReduceMin", scores, axes=[1], keepdims=1)
            lowest = graph.add("Sub", minimum, graph.constant(1))
            place = np.full(self.classes, len(self), np.int64)
            place[self.labels] = np.arange(len(self))
            both = graph.add("Concat", scores, lowest, axis=1)
            scores = graph.add("Gather", both, graph.constant(place, np.int64), axis=1)
        return graph.finish(scores, self.classes)


def accuracy(scores: Scores, labels: Labels) -> float:
    """Return the part of rows whose highest score is the label's; 0 without rows."""
    return float((scores.argmax(axis=1) == labels).sum()) / max(1, len(labels))
