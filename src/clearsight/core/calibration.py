"""Temperature scaling: one number that makes scores mean what they say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import DataError
from clearsight.core.nouns import Scores, Task
from clearsight.core.vector_scaling import VectorScaling

LOWEST, HIGHEST = 0.05, 20.0
MAX_STEPS = 60


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> Scores:
    """Return the probabilities of scores divided by a temperature.

    Args:
        logits: (n, k) raw scores, finite.
        temperature: > 0; above 1 softens, below 1 sharpens.

    Returns:
        (n, k) float32, rows sum to 1.

    Example:
        >>> softmax(np.zeros((1, 2))).tolist()
        [[0.5, 0.5]]
    """
    return _softmax(np.asarray(logits, dtype=np.float64) / temperature).astype(np.float32)


def sigmoid(logits: NDArray[np.floating], temperature: float = 1.0) -> Scores:
    """Return the probability of every class by itself, (n, k) float32.

    Args:
        logits: (n, k) raw scores, finite.
        temperature: > 0; above 1 softens, below 1 sharpens.

    Example:
        >>> sigmoid(np.zeros((1, 2))).tolist()
        [[0.5, 0.5]]
    """
    scores = np.asarray(logits, dtype=np.float64) / temperature
    return np.asarray(0.5 * (1 + np.tanh(0.5 * scores)), dtype=np.float32)


def probabilities(
    logits: NDArray[np.floating],
    temperature: float = 1.0,
    task: Task = "single-label",
    vector: VectorScaling | None = None,
) -> Scores:
    """Return calibrated probabilities (n, k): rows sum to 1, but not with "multi-label".

    Args:
        logits: (n, k) raw scores, finite.
        temperature: > 0.
        task: with "multi-label" every class is a question of its own.
        vector: applied to the scores after the temperature; not with "multi-label".
    """
    if vector is not None:
        return softmax(vector.apply(np.asarray(logits, dtype=np.float64) / temperature))
    return (sigmoid if task == "multi-label" else softmax)(logits, temperature)


def fit_temperature(
    logits: NDArray[np.floating], labels: NDArray[np.integer], task: Task = "single-label"
) -> float:
    """Return the temperature with the least log-loss on held-out samples.

    The log-loss is convex in 1/T, so its one minimum is found by Newton steps kept inside a
    shrinking bracket. The targets are smoothed by 1/(n+2) as Platt did, so that a few samples
    that are all right do not ask for infinite certainty. The answer lies in [0.05, 20].

    Args:
        logits: (n, k) raw scores, finite.
        labels: (n,) indices of the true classes, in [0, k); (n, k) of 0 and 1 for "multi-label".
        task: what a label is.

    Returns:
        The temperature; 1.0 when nothing can be learned (no samples, or constant scores).

    Raises:
        DataError: shapes do not fit, a label is outside [0, k), or a score is not finite.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2 (temperature);
        Platt 1999, "Probabilistic Outputs for Support Vector Machines", section 2.2 (targets).

    Example:
        >>> fit_temperature(np.zeros((4, 2)), np.array([0, 1, 0, 1]))
        1.0
    """
    scores = np.asarray(logits, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.int64)
    if task == "multi-label":  # n * k questions of two answers each
        scores = np.stack([np.zeros(scores.size), scores.ravel()], axis=1)
        truth = truth.ravel()
    _check(scores, truth)
    if scores.size == 0 or float(np.ptp(scores, axis=1).max()) < 1e-9:
        return 1.0
    scores = scores - scores.max(axis=1, keepdims=True)
    smoothing = 1.0 / (len(truth) + 2)
    own = scores[np.arange(len(truth)), truth]
    wanted = float(np.mean((1 - smoothing) * own + smoothing * scores.mean(axis=1)))
    return 1.0 / _minimum(scores, wanted)


def _minimum(scores: NDArray[np.float64], wanted: float) -> float:
    """Return the 1/T at which the mean expected score equals `wanted`."""
    low, high = 1.0 / HIGHEST, 1.0 / LOWEST
    if _slope(scores, low)[0] >= wanted:
        return low
    if _slope(scores, high)[0] <= wanted:
        return high
    inverse = 1.0
    for _ in range(MAX_STEPS):
        expected, variance = _slope(scores, inverse)
        if expected < wanted:
            low = inverse
        else:
            high = inverse
        step = (wanted - expected) / variance if variance > 0 else np.inf
        following = inverse + step
        if not low < following < high:
            following = (low * high) ** 0.5
        if abs(following - inverse) < 1e-9 * inverse:
            return following
        inverse = following
    return inverse


def _slope(scores: NDArray[np.float64], inverse: float) -> tuple[float, float]:
    """Return mean and variance of the scores under their own softmax, averaged over samples."""
    probabilities = _softmax(scores * inverse)
    weighted = probabilities * scores
    mean = weighted.sum(axis=1)
    square = (weighted * scores).sum(axis=1)
    return float(mean.mean()), float((square - mean**2).mean())


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    powers: NDArray[np.float64] = np.exp(scores - scores.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def _check(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> None:
    if scores.ndim != 2 or truth.shape != scores.shape[:1]:
        raise DataError(
            "Calibration needs logits (n, k) and labels (n,), "
            f"got {scores.shape} and {truth.shape}."
        )
    if truth.size and not 0 <= int(truth.min()) <= int(truth.max()) < scores.shape[1]:
        raise DataError(
            f"Calibration labels must be in [0, {scores.shape[1]}), "
            f"got {int(truth.min())} to {int(truth.max())}."
        )
    if not np.isfinite(scores).all():
        raise DataError(
            "Calibration got scores that are not finite: the network diverged. "
            "Train again with a lower learning rate."
        )
