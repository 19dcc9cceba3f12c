"""Intervals of proportions: Wilson's for what was counted, a certain lower end for certificates."""

from __future__ import annotations

from math import lgamma, log
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
BISECTIONS = 60


def wilson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion; (0, 1) when n is 0.

    Args:
        successes: in [0, n].
        n: trials.
        level: confidence, in (0, 1).

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".

    Example:
        >>> [round(end, 4) for end in wilson(8, 10)]
        [0.4902, 0.9433]
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def clopper_pearson_low(successes: int, n: int, alpha: float) -> float:
    """Return the lower end that a proportion is above with confidence 1 - alpha, exactly.

    Args:
        successes: in [0, n].
        n: trials, >= 1.
        alpha: how often it may be wrong, in (0, 1).

    Source: Clopper and Pearson 1934, "The Use of Confidence or Fiducial Limits Illustrated in the
        Case of the Binomial".

    Example:
        >>> round(clopper_pearson_low(10, 10, 0.05), 4)
        0.7411
    """
    if successes == 0:
        return 0.0
    counts = np.arange(successes, n + 1, dtype=np.float64)
    ways = lgamma(n + 1) - np.array([lgamma(k + 1) + lgamma(n - k + 1) for k in counts])
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        p = (low + high) / 2
        powers = ways + counts * log(p) + (n - counts) * log(1 - p)
        if float(np.exp(powers).sum()) < alpha:
            low = p
        else:
            high = p
    return low
