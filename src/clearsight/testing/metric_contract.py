"""What every metric must satisfy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from clearsight.evaluate.figures import METRICS
from clearsight.evaluate.metric import Metric
from clearsight.evaluate.scored import Scored
from clearsight.testing.contract import Contract

TOLERANCE = 1e-6
HAND_WORKED = Scored(
    np.array(
        [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]], dtype=np.float32
    ),
    np.array([0, 1, 1, 2]),
)
"""Right, wrong, right, right; truth gets 0.7, 0.3, 0.8, 0.5; class recalls 1, 1/2, 1."""
EXPECTED = {
    "accuracy": 3 / 4,
    "balanced-accuracy": (1 + 1 / 2 + 1) / 3,
    "macro-f1": (2 / 3 + 2 / 3 + 1) / 3,
    "worst-class-recall": 1 / 2,
    "log-loss": -np.log(0.7 * 0.3 * 0.8 * 0.5) / 4,
    # The second class's pictures rank first, and second among two equals: (1 + 2/3) / 2.
    "mean-average-precision": (1 + 5 / 6 + 1) / 3,
    "mean-rank-error": 1 / 4,
    # Squared steps: 1 seen; by chance 1, 4, 4, 2, 8 and 1 fourths.
    "quadratic-kappa": 1 - 1 / (20 / 4),
    "brier": (0.14 + 0.78 + 0.06 + 0.38) / 4,
    # The bins: 0.5 holds two pictures of which one is right, 0.7 and 0.8 one right each.
    "ece": (2 * abs(0.5 - 0.5) + abs(1 - 0.7) + abs(1 - 0.8)) / 4,
    # Four pictures and 15 bins: a bin for every score that occurs, the same three.
    "ece-equal-mass": (2 * abs(0.5 - 0.5) + abs(1 - 0.7) + abs(1 - 0.8)) / 4,
    # Class by class; 0.3 of the second class is in one bin twice, once true; 0.1 of the third too.
    "class-wise-ece": (
        (0.3 + 0.5 + 0.1 + 0.2) + (0.2 + abs(2 * 0.3 - 1) + 0.2) + (2 * 0.1 + 0.2 + 0.5)
    )
    / (3 * 4),
}


def drawn(n: int, k: int, seed: int) -> Scored:
    """Return n random pictures over k classes, as right as their probabilities say."""
    generator = np.random.default_rng(seed)
    rows = generator.dirichlet(np.full(k, 0.4), n).astype(np.float32)
    labels = (rows.cumsum(axis=1) < generator.random((n, 1))).sum(axis=1).clip(0, k - 1)
    return Scored(rows, labels)


class MetricContract(Contract):
    """Clauses for `evaluate/metrics/`; an implementation is a `Metric`."""

    registry = METRICS

    def check_hand_worked_value(self, metric: Metric) -> None:
        """A value worked out by hand; a metric without one here is only checked for its range."""
        expected = EXPECTED.get(self._key(metric))
        value = metric(HAND_WORKED)
        if expected is None:
            assert metric.lowest <= value <= metric.highest
        else:
            assert abs(value - expected) < TOLERANCE, f"{value} is not {expected}"

    def check_stays_in_its_range(self, metric: Metric) -> None:
        """No input leaves [lowest, highest], and random ones are not all alike."""
        values = [metric(drawn(50, k, seed)) for k in (2, 5, 40) for seed in range(5)]
        opposite = Scored(np.eye(3, dtype=np.float32), np.array([1, 2, 0]))
        for value in [*values, metric(opposite)]:
            assert metric.lowest - TOLERANCE <= value <= metric.highest + TOLERANCE
        assert len(set(values)) > 1

    def check_perfect_prediction_is_best(self, metric: Metric) -> None:
        """Certain and right gives `best`, which is one end of the range; nothing is better."""
        perfect = Scored(np.eye(4, dtype=np.float32), np.arange(4))
        assert metric.best in (metric.lowest, metric.highest)
        assert abs(metric(perfect) - metric.best) < TOLERANCE

    def check_order_of_pictures_does_not_matter(self, metric: Metric) -> None:
        """Shuffled pictures give the same figure."""
        scored = drawn(200, 6, 1)
        order = np.random.default_rng(2).permutation(scored.n)
        shuffled = Scored(scored.probabilities[order], scored.labels[order])
        assert abs(metric(scored) - metric(shuffled)) < TOLERANCE

    def check_order_of_classes_does_not_matter(self, metric: Metric) -> None:
        """Renumbered classes give the same figure; a scale may only be turned round."""
        scored = drawn(200, 6, 3)
        order = np.random.default_rng(4).permutation(scored.k)
        if metric.tasks == ("ordinal",):
            order = np.arange(scored.k)[::-1]
        place = np.argsort(order)
        renumbered = Scored(scored.probabilities[:, order], place[scored.labels])
        assert abs(metric(scored) - metric(renumbered)) < TOLERANCE

    def check_absent_classes_and_single_pictures(self, metric: Metric) -> None:
        """One picture, one class that occurs, classes that never occur: finite and in range."""
        rows = np.array([[0.6, 0.4, 0.0], [0.1, 0.9, 0.0]], dtype=np.float32)
        certain = np.array([[1.0, 0.0]], dtype=np.float32)
        for scored in (
            Scored(rows, np.array([0, 0])),
            Scored(rows[:1], np.array([2])),
            Scored(certain, np.array([1])),
        ):
            assert np.isfinite(metric(scored))
            assert metric.lowest - TOLERANCE <= metric(scored) <= metric.highest + TOLERANCE

    def check_resamples_are_scored_alike(self, metric: Metric) -> None:
        """A resample gives what the same rows give when they are copied."""
        scored = drawn(60, 4, 5)
        indices = np.random.default_rng(6).integers(0, 60, 60)
        copied = Scored(scored.probabilities[indices], scored.labels[indices])
        assert abs(metric(scored.resample(indices)) - metric(copied)) < TOLERANCE

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        good: Metric = METRICS.load("accuracy")
        counter = itertools.count()

        def planted(compute: Callable[[Scored], float]) -> Metric:
            return replace(good, compute=compute)

        return {
            "check_hand_worked_value": planted(lambda scored: good(scored) + 0.01),
            "check_stays_in_its_range": planted(lambda scored: float(scored.correct.sum())),
            "check_perfect_prediction_is_best": planted(lambda scored: good(scored) * 0.9),
            "check_order_of_pictures_does_not_matter": planted(
                lambda scored: float(scored.correct[: scored.n // 2].mean())
            ),
            "check_order_of_classes_does_not_matter": planted(
                lambda scored: float(scored.recalls[0])
            ),
            "check_absent_classes_and_single_pictures": planted(_recall_of_absent_classes_too),
            "check_resamples_are_scored_alike": planted(lambda scored: next(counter) / 1000),
        }

    def _key(self, metric: Metric) -> str:
        for key in METRICS.keys():  # noqa: SIM118 - a Registry is no mapping
            if METRICS.load(key).title == metric.title:
                return key
        return ""


def _recall_of_absent_classes_too(scored: Scored) -> float:
    with np.errstate(invalid="ignore"):
        return float((scored.hits / scored.support).mean())
