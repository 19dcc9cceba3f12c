"""Fits vector scaling, and says whether it is worth more than one temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearsight.core.calibration import fit_temperature, probabilities
from clearsight.core.nouns import Scores
from clearsight.core.seeds import generator
from clearsight.core.vector_scaling import VectorScaling

LEAST_OF_A_CLASS = 20
FOLDS = 5
WEIGHT_RANGE = (0.05, 20.0)
PRIOR_PICTURES = 1.0
"""How many pictures' worth the pull towards plain temperature scaling has, per parameter."""
SMALLEST = float(np.finfo(np.float32).eps)
CERTAIN = 1.96


@dataclass(frozen=True, slots=True)
class ScalingTrial:
    """The log-loss of both calibrations in cross-validation on the same pictures.

    Args:
        temperature, vector: mean log-loss in nats.
        error: standard error of their difference, picture by picture.
        n: pictures.
    """

    temperature: float
    vector: float
    error: float
    n: int

    @property
    def pays(self) -> bool:
        """Whether vector scaling is better by more than chance."""
        return self.temperature - self.vector > CERTAIN * self.error


def fit_vector_scaling(
    logits: Scores, labels: NDArray[np.int64], temperature: float
) -> VectorScaling:
    """Return the factors and offsets with the least log-loss on held-out samples.

    Scores are divided by the temperature first; a Gaussian prior of one picture's weight holds
    factors near 1 and offsets near 0, so that a class with few pictures stays where it was.

    Args:
        logits: (n, k) raw scores, finite.
        labels: (n,) indices of the true classes.
        temperature: fitted on the same samples.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """
    from scipy.optimize import minimize

    scores = np.asarray(logits, dtype=np.float64) / temperature
    n, k = scores.shape
    truth = np.zeros((n, k))
    truth[np.arange(n), labels] = 1
    start = np.concatenate([np.ones(k), np.zeros(k)])

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        moved = scores * parameters[:k] + parameters[k:]
        moved -= moved.max(axis=1, keepdims=True)
        totals = np.log(np.exp(moved).sum(axis=1))
        away = parameters - start
        value = (totals - moved[truth > 0]).sum() + PRIOR_PICTURES * (away @ away) / 2
        errors = np.exp(moved - totals[:, None]) - truth
        slopes = np.concatenate([(errors * scores).sum(axis=0), errors.sum(axis=0)])
        return value / n, (slopes + PRIOR_PICTURES * away) / n

    bounds = [WEIGHT_RANGE] * k + [(None, None)] * k
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    # Six digits: a manifest stays readable.
    rounded = [float(f"{value:.6g}") for value in found]
    return VectorScaling(weights=tuple(rounded[:k]), biases=tuple(rounded[k:]))


def try_vector_scaling(logits: Scores, labels: NDArray[np.int64]) -> ScalingTrial | None:
    """Return what both calibrations give in 5-fold cross-validation.

    Args:
        logits: (n, k) raw scores of held-out pictures.
        labels: (n,) indices of the true classes.

    Returns:
        None where a class that occurs has fewer than 20 pictures: too few for factors of its own.
    """
    counts = np.bincount(labels, minlength=logits.shape[1])
    if counts.min() < LEAST_OF_A_CLASS:
        return None
    fold = np.empty(len(labels), np.int64)
    order = generator(0, "vector scaling").permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    fold[by_class] = np.arange(len(labels)) % FOLDS
    losses = np.empty((2, len(labels)))
    for number in range(FOLDS):
        inside = fold == number
        temperature = fit_temperature(logits[~inside], labels[~inside])
        vector = fit_vector_scaling(logits[~inside], labels[~inside], temperature)
        for row, each in enumerate((None, vector)):
            shares = probabilities(logits[inside], temperature, vector=each)
            own = shares[np.arange(len(shares)), labels[inside]]
            losses[row, inside] = -np.log(np.maximum(own, SMALLEST))
    gain = losses[0] - losses[1]
    error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    return ScalingTrial(float(losses[0].mean()), float(losses[1].mean()), error, len(labels))
