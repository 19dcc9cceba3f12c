"""How far every class's probability is from how often it is true, the mean over classes."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from clearsight.evaluate.metric import metric
from clearsight.evaluate.reliability import BINS
from clearsight.evaluate.scored import Scored

LEVEL = 0.95
MOST_RESAMPLES, LEAST_RESAMPLES = 200, 20
MOST_NUMBERS = 100_000_000


@metric(
    "Calibration error, class by class",
    best=0.0,
    interval=lambda scored: _interval(scored),
)
def class_wise_ece(scored: Scored) -> float:
    """Return the mean over classes of the calibration error of that class's probability.

    In [0, 1]; 0 is best. Each class's probabilities of all pictures fall into 15 bins of equal
    width. With many classes most probabilities are near 0 and so is this figure.

    Source: Kull et al. 2019, "Beyond Temperature Scaling: Obtaining Well-Calibrated Multi-Class
        Probabilities with Dirichlet Calibration", section 2 (classwise-ECE).
    """
    place, off = _binned(scored)
    return _error(place, off, scored.k, np.ones(scored.n))


def _binned(scored: Scored) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (n, k) the bin of each probability, and how far it is from the truth."""
    shares = scored.probabilities.astype(np.float64)
    bins = np.clip(np.ceil(shares * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return bins + BINS * np.arange(scored.k), shares - scored.targets


def _error(
    place: NDArray[np.int64], off: NDArray[np.float64], k: int, weights: NDArray[np.float64]
) -> float:
    sums = np.bincount(place.ravel(), weights=(off * weights[:, None]).ravel(), minlength=k * BINS)
    return float(np.abs(sums).sum() / (k * weights.sum()))


def _interval(scored: Scored) -> tuple[float, float]:
    """Return the bootstrap standard interval from 200 resamples, fewer of many numbers.

    A resample counts each picture so many times, so that bins are found only once.
    """
    place, off = _binned(scored)
    value = _error(place, off, scored.k, np.ones(scored.n))
    rounds = max(LEAST_RESAMPLES, min(MOST_RESAMPLES, MOST_NUMBERS // off.size))
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(rounds):
        counts = np.bincount(generator.integers(0, scored.n, scored.n), minlength=scored.n)
        drawn.append(_error(place, off, scored.k, counts.astype(np.float64)))
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * float(np.std(drawn, ddof=1))
    return max(0.0, value - half), min(1.0, value + half)
