"""The reliability diagram's bins: what a score promises and what came true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import Scores, Task

BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of the reliability diagram.

    Args:
        low, high: the bin's range of scores; `high` belongs to it, `low` does not.
        n: pictures whose best score falls in it.
        confidence: their mean best score.
        accuracy: the fraction of them that is right.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def reliability(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Return the non-empty ones of 15 bins of equal width; a bin is (low, high].

    Args:
        confidence: of any shape, the probability of each answer, in [0, 1].
        correct: of the same shape, whether the answer is right.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
    """
    confidence, correct = confidence.ravel(), correct.ravel()
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    sums = np.bincount(place, weights=confidence, minlength=BINS)
    rights = np.bincount(place, weights=correct, minlength=BINS)
    return tuple(
        Bin(i / BINS, (i + 1) / BINS, int(n), float(sums[i] / n), float(rights[i] / n))
        for i, n in enumerate(counts)
        if n
    )


def equal_mass(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Return at most 15 bins that hold about equally many pictures; equal scores share a bin.

    Args:
        confidence, correct: see `reliability`.

    Source: Nguyen and O'Connor 2015, "Posterior Calibration and Exploratory Analysis for Natural
        Language Processing Models", section 3 (adaptive bins).
    """
    confidence, correct = confidence.ravel(), correct.ravel()
    ranked = np.sort(confidence)
    ends = ranked[np.ceil(len(ranked) * np.arange(1, BINS + 1) / BINS).astype(np.int64) - 1]
    highs = np.unique(ends)
    lows = np.concatenate([[0.0], highs[:-1]])
    place = np.searchsorted(highs, confidence, side="left")
    counts = np.bincount(place, minlength=len(highs))
    sums = np.bincount(place, weights=confidence, minlength=len(highs))
    rights = np.bincount(place, weights=correct, minlength=len(highs))
    return tuple(
        Bin(float(lows[i]), float(highs[i]), int(n), float(sums[i] / n), float(rights[i] / n))
        for i, n in enumerate(counts)
        if n
    )


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """Return the sum over bins of their share of the pictures times |accuracy - confidence|."""
    total = sum(part.n * abs(part.accuracy - part.confidence) for part in bins)
    return total / sum(part.n for part in bins)


def untempered(probabilities: Scores, temperature: float, task: Task = "single-label") -> Scores:
    """Return the probabilities as they were before their logits were divided by `temperature`.

    softmax(z) is proportional to softmax(z / T) ** T; with "multi-label" that holds for each
    class against its absence.

    Args:
        probabilities: (n, k) calibrated.
        temperature: > 0, what the logits were divided by.
        task: what a label is.

    Returns:
        (n, k) float32; rows sum to 1, but not with "multi-label".
    """
    if task == "multi-label":
        present = np.power(probabilities, np.float32(temperature))
        absent = np.power(1 - probabilities, np.float32(temperature))
        return np.asarray(present / np.maximum(present + absent, 1e-30), dtype=np.float32)
    shares = probabilities / probabilities.max(axis=1, keepdims=True)
    powers = np.power(shares, np.float32(temperature))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
