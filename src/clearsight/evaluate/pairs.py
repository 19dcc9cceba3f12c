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
from clearsight.evaluate.paired import (
    Correct,
    Difference,
    holm,
    luck_between_classes,
    mcnemar,
    paired_bootstrap,
)

LEVEL = 0.99
"""Two are called different at this level, and not at 95 %: luck is itself an estimate, and of 200
comparisons of seeds at most 5 % may go wrong in nearly every set of 200, not in every second."""
LUCK = 0.001
"""The least `luck` of two trainings, about half of what was measured where it shows in no class: of
the pictures on which two trainings disagree, one gets half, give or take 1.6 %. See
docs/explanation/comparing.md."""


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
        accuracy, balanced_accuracy: first minus second, with 95 % bootstrap intervals for
            these two as they are, on other pictures.
        luck: what McNemar's test leaves room for, see `luck_between_classes`.
        p_as_they_are: McNemar's, for these two as they are.
        p: the same when each had been trained again.
        p_corrected: `p` after Holm, for all pairs of the comparison; it decides.
    """

    first: str
    second: str
    n: int
    only_first: int
    only_second: int
    accuracy: Difference
    balanced_accuracy: Difference
    luck: float
    p_as_they_are: float
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
    counts = [_alone(one, other) for one, other, _ in rows]
    tests = [trained_again(*row) for row in rows]
    p_values = [p for p, _ in tests]
    corrected = holm(p_values)
    pairs = []
    for i, (first, second) in enumerate(couples):
        one, other, labels = rows[i]
        accuracy, balanced = paired_bootstrap(one, other, labels, seed=seed)
        pairs.append(
            Pair(
                first=first,
                second=second,
                n=len(labels),
                only_first=counts[i][0],
                only_second=counts[i][1],
                accuracy=accuracy,
                balanced_accuracy=balanced,
                luck=tests[i][1],
                p_as_they_are=mcnemar(*counts[i]),
                p=p_values[i],
                p_corrected=corrected[i],
            )
        )
    return pairs


def trained_again(
    first: Correct, second: Correct, labels: NDArray[np.int64]
) -> tuple[float, float]:
    """Return the p-value of two ways of training being equally good, and the luck it allows.

    Args:
        first, second: (n,) bool, whether each picture was recognised.
        labels: (n,) int64, the true classes.
    """
    luck = max(LUCK, luck_between_classes(first, second, labels))
    return mcnemar(*_alone(first, second), luck), luck


def _alone(first: Correct, second: Correct) -> tuple[int, int]:
    """Return how many pictures the first, and the second, alone recognised."""
    return int((first & ~second).sum()), int((second & ~first).sum())


def _common(
    answers: Mapping[str, Answers], first: str, second: str
) -> tuple[Correct, Correct, NDArray[np.int64]]:
    """Return what both say of the pictures that both were scored on, and the true classes."""
    one, other = answers[first], answers[second]
    _, mine, theirs = np.intersect1d(
        one.indices, other.indices, assume_unique=True, return_indices=True
    )
    if not len(mine):
        raise DataError(f"{first} and {second} have no picture in common; nothing to compare.")
    return one.correct[mine], other.correct[theirs], one.labels[mine]
