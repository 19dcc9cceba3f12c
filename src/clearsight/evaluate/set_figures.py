"""What conformal sets are worth on a data set: do they cover, and how large are they."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from clearsight.core.conformal import Conformal
from clearsight.core.proportions import LEVEL, wilson
from clearsight.evaluate.scored import Scored

LARGEST_SIZE = 10
"""Sets larger than this are counted together."""


@dataclass(frozen=True, slots=True)
class ClassCoverage:
    """How often the sets of one class's pictures hold it, with the 95 % Wilson interval."""

    name: str
    coverage: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class SetFigures:
    """What the sets of one level gave.

    Args:
        level: per cent; what was promised.
        method: the kind of set.
        coverage, low, high: share of pictures whose true class is in their set; 95 % Wilson.
        mean_size, size_low, size_high: classes a set; 95 % normal interval of the mean.
        empty: share of pictures with an empty set.
        sizes: pictures with 0, 1, ... 10 and more classes in their set.
        classes: every class that has a picture, worst covered first.
        n: pictures.
        carried: predictions carry the sets of this level.
    """

    level: int
    method: str
    coverage: float
    low: float
    high: float
    mean_size: float
    size_low: float
    size_high: float
    empty: float
    sizes: tuple[int, ...]
    classes: tuple[ClassCoverage, ...]
    n: int
    carried: bool

    def to_json(self) -> dict[str, Any]:
        """Return DESIGN's `conformal` entry of this level."""
        worst = self.classes[0]
        return {
            "method": self.method,
            "coverage": self.coverage,
            "coverage_ci": [self.low, self.high],
            "mean_size": self.mean_size,
            "mean_size_ci": [self.size_low, self.size_high],
            "empty": self.empty,
            "sizes": list(self.sizes),
            "worst_class": worst.name,
            "worst_class_coverage": worst.coverage,
            "worst_class_coverage_ci": [worst.low, worst.high],
            "n": self.n,
        }


def set_figures(
    conformal: Conformal, scored: Scored, classes: Sequence[str]
) -> tuple[SetFigures, ...]:
    """Return what the sets of every fitted level give, lowest level first.

    Args:
        conformal: the recognizer's quantiles.
        scored: calibrated probabilities and true classes.
        classes: the recognizer's class names.
    """
    levels = sorted(int(level) for level in conformal.thresholds)
    return tuple(_of_level(conformal, level, scored, classes) for level in levels)


def _of_level(
    conformal: Conformal, level: int, scored: Scored, classes: Sequence[str]
) -> SetFigures:
    sets = conformal.sets(scored.probabilities, level)
    covered = sets[np.arange(scored.n), scored.labels]
    sizes = sets.sum(axis=1)
    low, high = wilson(int(covered.sum()), scored.n)
    hits = np.bincount(scored.labels[covered], minlength=scored.k)
    every = [
        ClassCoverage(name, hits[i] / n, *wilson(int(hits[i]), int(n)), int(n))
        for i, (name, n) in enumerate(zip(classes, scored.support, strict=True))
        if n
    ]
    mean = float(sizes.mean())
    spread = float(sizes.std(ddof=1)) if scored.n > 1 else 0.0
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * spread / scored.n**0.5
    counts = np.bincount(np.minimum(sizes, LARGEST_SIZE), minlength=LARGEST_SIZE + 1)
    return SetFigures(
        level=level,
        method=conformal.method,
        coverage=float(covered.mean()),
        low=low,
        high=high,
        mean_size=mean,
        size_low=max(0.0, mean - half),
        size_high=mean + half,
        empty=float((sizes == 0).mean()),
        sizes=tuple(int(count) for count in counts),
        classes=tuple(sorted(every, key=lambda item: item.coverage)),
        n=scored.n,
        carried=level == conformal.level,
    )
