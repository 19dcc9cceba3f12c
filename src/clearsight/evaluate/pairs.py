"""Every two recognizers, and whether they are called different."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import DataError
from clearsight.evaluate.figures import plain
from clearsight.evaluate.paired import Difference, holm, mcnemar, paired_bootstrap

LEVEL = 0.99
"""Recognizers are called different at this level; docs/explanation/comparing.md says why."""


@dataclass(frozen=True)
class Answers:
    """Which pictures one recognizer recognised.

    Args:
        indices: (n,) int64, places of the scored pictures in the data set, ascending.
        labels: (n,) int64, their true classes, numbered alike for all recognizers.
        correct: (n,) bool.
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    correct: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two recognizers on the pictures that both were scored on.

    Args:
        first, second: their names, the better placed one first.
        n: pictures.
        only_first, only_second: pictures that one of the two alone recognised.
        accuracy, balanced_accuracy: first minus second, with bootstrap intervals at LEVEL.
        p: McNemar's, for this pair alone.
        p_corrected: Holm's, for all pairs of the comparison.
    """

    first: str
    second: str
    n: int
    only_first: int
    only_second: int
    accuracy: Difference
    balanced_accuracy: Difference
    p: float
    p_corrected: float

    @property
    def different(self) -> bool:
        """Whether the two are called different."""
        return self.p_corrected <= 1 - LEVEL

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**plain(self), "different": self.different}


def find_pairs(answers: Mapping[str, Answers], seed: int = 0) -> list[Pair]:
    """Compare every two recognizers; p-values are corrected for how many pairs there are.

    Args:
        answers: by name, in the order of their place.
        seed: fixes the bootstrap's draws.

    Raises:
        DataError: two have no picture in common.
    """
    couples = list(combinations(answers, 2))
    rows = [_common(answers, *couple) for couple in couples]
    counts = [(int((a & ~b).sum()), int((b & ~a).sum())) for a, b, _ in rows]
    p_values = [mcnemar(*count) for count in counts]
    corrected = holm(p_values)
    pairs = []
    for i, (first, second) in enumerate(couples):
        one, other, labels = rows[i]
        accuracy, balanced = paired_bootstrap(one, other, labels, LEVEL, seed)
        pairs.append(
            Pair(
                first=first,
                second=second,
                n=len(labels),
                only_first=counts[i][0],
                only_second=counts[i][1],
                accuracy=accuracy,
                balanced_accuracy=balanced,
                p=p_values[i],
                p_corrected=corrected[i],
            )
        )
    return pairs


def _common(
    answers: Mapping[str, Answers], first: str, second: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """Return what both say of the pictures that both were scored on, and the true classes."""
    one, other = answers[first], answers[second]
    _, mine, theirs = np.intersect1d(
        one.indices, other.indices, assume_unique=True, return_indices=True
    )
    if not len(mine):
        raise DataError(f"{first} and {second} have no picture in common; nothing to compare.")
    return one.correct[mine], other.correct[theirs], one.labels[mine]
