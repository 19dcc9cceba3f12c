"""Confidence intervals: Wilson's for proportions, the bootstrap for everything else."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np

from clearsight.core.proportions import LEVEL as LEVEL
from clearsight.core.proportions import wilson as wilson
from clearsight.evaluate.metric import Metric
from clearsight.evaluate.scored import Scored

RESAMPLES = 500
RESAMPLED_LABELS_AT_MOST = 10_000_000


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
