"""Whether one recognizer is worse than another by more than the validation part can tell."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import Scores

LEVEL = 0.05
"""Chance, over all comparisons of one round, to drop a recognizer that is as good as the best."""

Merits = NDArray[np.float64]


def merits(logits: Scores, labels: NDArray[np.int64], balanced: bool = False) -> Merits:
    """Return what each picture adds to the accuracy; their sum is the accuracy.

    Args:
        logits: (n, classes).
        labels: (n,) int64, or (n, classes) of 0 and 1 (then: share of classes told rightly).
        balanced: weigh pictures so that every class counts alike (balanced accuracy).

    Example:
        >>> merits(np.eye(2, dtype=np.float32), np.array([0, 0])).tolist()
        [0.5, 0.0]
    """
    n = len(labels)
    if labels.ndim == 2:
        told: Merits = ((logits > 0) == (labels > 0)).mean(axis=1) / n
        return told
    right: Merits = (logits.argmax(axis=1) == labels).astype(np.float64)
    share = np.full(n, float(n))
    if balanced:
        counts = np.bincount(labels, minlength=logits.shape[1])
        share = (counts[labels] * np.count_nonzero(counts)).astype(np.float64)
    weighed: Merits = right / share
    return weighed


def worse(one: Merits, other: Merits, comparisons: int = 1) -> bool:
    """Whether `one` is worse than `other` on the same pictures by more than chance.

    Args:
        one, other: `merits` of two recognizers on the same pictures.
        comparisons: how many are made at once; LEVEL holds for all of them together.

    Source:
        McNemar 1947, "Note on the sampling error of the difference between correlated
        proportions", with Edwards' correction; one-sided, Bonferroni over the comparisons.

    Example:
        >>> right = np.ones(100) / 100
        >>> worse(right * (np.arange(100) > 9), right), worse(right * (np.arange(100) > 2), right)
        (True, False)
    """
    apart = other - one
    moved = np.abs(apart[apart != 0])
    if not len(moved):
        return False
    gap = float(apart.sum()) - float(moved.mean())
    deviation = float(np.sqrt((moved**2).sum()))
    return gap / deviation > NormalDist().inv_cdf(1 - LEVEL / comparisons)


def drop_worse(entries: dict[Any, Merits]) -> dict[Any, float]:
    """Return who is worse than the best by more than chance, and by how much.

    Args:
        entries: merits by name, all on the same pictures.

    Returns:
        Points of accuracy behind the best, by the name of those to drop; the best is never there.
    """
    best = max(entries, key=lambda name: float(entries[name].sum()))
    return {
        name: float(entries[best].sum() - values.sum())
        for name, values in entries.items()
        if name != best and worse(values, entries[best], max(1, len(entries) - 1))
    }
