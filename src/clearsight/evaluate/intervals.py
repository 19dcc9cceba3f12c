"""Confidence intervals: Wilson's for proportions, the bootstrap for everything else."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np

from clearsight.evaluate.metric import Metric
from clearsight.evaluate.scored import Scored

LEVEL = 0.95
RESAMPLES = 500
RESAMPLED_LABELS_AT_MOST = 10_000_000


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


def bootstrap(
    scored: Scored, metrics: Mapping[str, Metric], seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return the bootstrap standard interval of each metric, at 95 %, cut to its range.

    Every metric sees the same resamples: 500, fewer above 20,000 pictures (at least 100). The
    interval stands around the figure itself, as the resamples of F1, ECE and the like are biased.
    When no picture is wrong the resamples do not vary, and Wilson's interval of n out of n stands
    in for figures whose best is 1.

    Args:
        scored: the pictures that are drawn from, with replacement.
        metrics: by key.
        seed: fixes the draws.

    Source: Efron 1981, "Nonparametric Standard Errors and Confidence Intervals", section 2.
    """
    rounds = max(100, min(RESAMPLES, RESAMPLED_LABELS_AT_MOST // scored.n))
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in metrics}
    for _ in range(rounds if metrics else 0):
        part = scored.resample(generator.integers(0, scored.n, scored.n))
        for name, metric in metrics.items():
            drawn[name].append(metric(part))
    return {name: _around(metric, scored, drawn[name]) for name, metric in metrics.items()}


def _around(metric: Metric, scored: Scored, drawn: list[float]) -> tuple[float, float]:
    if metric.best == 1 and scored.correct.all():
        return wilson(scored.n, scored.n)
    value = metric(scored)
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * float(np.std(drawn, ddof=1))
    return max(metric.lowest, value - half), min(metric.highest, value + half)
