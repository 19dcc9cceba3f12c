"""The figures of one scoring: every metric with n and interval, every class, every confusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import Scores, Task
from clearsight.core.registry import Registry
from clearsight.evaluate.intervals import bootstrap, wilson
from clearsight.evaluate.metric import Metric
from clearsight.evaluate.scored import Scored
from clearsight.evaluate.scored_labels import ScoredLabels

METRICS = Registry("clearsight.evaluate.metrics", "metric")
CONFUSIONS_IN_JSON = 50


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure with its 95 % confidence interval.

    Args:
        value: the figure.
        low, high: the interval's ends.
        n: how many pictures it stands on.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How well one class is recognised.

    Args:
        precision, recall, f1: in [0, 1]; None where it is undefined.
        recall_ci: the recall's 95 % Wilson interval.
        n: pictures of this class.
        predicted: pictures that were taken for this class.
    """

    precision: float | None
    recall: float | None
    recall_ci: tuple[float, float]
    f1: float | None
    n: int
    predicted: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often one class was taken for another.

    Args:
        truth, predicted: class names.
        n: pictures of `truth` that were taken for `predicted`.
        of: pictures of `truth`.
    """

    truth: str
    predicted: str
    n: int
    of: int


@dataclass(frozen=True)
class Figures:
    """What the probabilities are worth.

    Args:
        classes: the recognizer's class names.
        n: pictures scored.
        measures: every registered metric by key.
        per_class: by class name, in the recognizer's order.
        confusion: (k, k) int64, rows are the truth, columns the prediction.
        task: what a label is.
    """

    classes: tuple[str, ...]
    n: int
    measures: dict[str, Measure]
    per_class: dict[str, ClassScore]
    confusion: NDArray[np.int64]
    task: Task = "single-label"

    def confusions(self) -> list[Confusion]:
        """Return which class is taken for which other, most pictures first."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        rows, columns = np.nonzero(wrong)
        counts = wrong[rows, columns]
        totals = np.array([self.per_class[name].n for name in self.classes])
        return [
            Confusion(
                truth=self.classes[rows[i]],
                predicted=self.classes[columns[i]],
                n=int(counts[i]),
                of=int(totals[rows[i]]),
            )
            for i in np.lexsort((columns, rows, -counts))
        ]

    def to_json(self) -> dict[str, Any]:
        """Return DESIGN's evaluate fields that come from scores and labels alone."""
        accuracy = self.measures["accuracy"]
        figures = {key.replace("-", "_"): item for key, item in self.measures.items()}
        return {
            "task": self.task,
            "n": self.n,
            "accuracy": accuracy.value,
            "accuracy_ci": [accuracy.low, accuracy.high],
            **{key: item.value for key, item in figures.items()},
            "intervals": {key: [item.low, item.high] for key, item in figures.items()},
            "per_class": {name: plain(item) for name, item in self.per_class.items()},
            "confusions": [plain(item) for item in self.confusions()[:CONFUSIONS_IN_JSON]],
        }


def figures(scored: Scored, classes: Sequence[str], seed: int = 0) -> Figures:
    """Return every figure of scored pictures.

    Args:
        scored: probabilities and labels.
        classes: k names, in the order of the probability columns.
        seed: fixes the bootstrap's draws.
    """
    return Figures(
        classes=tuple(classes),
        n=scored.n,
        measures=measures(scored, seed),
        per_class=_per_class(scored, classes),
        confusion=scored.confusion,
        task=scored.task,
    )


def judge(
    probabilities: Scores,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    task: Task = "single-label",
) -> dict[str, Any]:
    """Return the JSON-ready figures of probabilities; what training writes into the manifest.

    Args:
        probabilities: (n, k) calibrated; rows sum to 1, but not with "multi-label".
        labels: (n,) in [0, k); (n, k) of 0 and 1 with "multi-label".
        classes: k names.
        task: what a label is.

    Raises:
        DataError: nothing to score, or rows that are no probabilities.
    """
    return figures(scored_as(task, probabilities, labels), classes).to_json()


def scored_as(task: Task, probabilities: Scores, labels: NDArray[np.int64]) -> Scored:
    """Return probabilities beside the truth, as the task reads them; see `judge`."""
    if task == "multi-label":
        return ScoredLabels(probabilities, labels)
    return Scored(probabilities, labels, task)


def measures(scored: Scored, seed: int = 0) -> dict[str, Measure]:
    """Return every registered metric of the task with its interval, by key.

    Args:
        scored: probabilities and labels.
        seed: fixes the bootstrap's draws.
    """
    every: dict[str, Metric] = {key: METRICS.load(key) for key in METRICS.keys()}  # noqa: SIM118
    metrics = {key: item for key, item in every.items() if scored.task in item.tasks}
    ends = {key: item.interval(scored) for key, item in metrics.items() if item.interval}
    ends |= bootstrap(scored, {k: item for k, item in metrics.items() if k not in ends}, seed)
    return {key: Measure(item(scored), *ends[key], scored.n) for key, item in metrics.items()}


def _per_class(scored: Scored, classes: Sequence[str]) -> dict[str, ClassScore]:
    found = {}
    for column, name in enumerate(classes):
        hits, n = int(scored.hits[column]), int(scored.support[column])
        predicted = int(scored.predictions[column])
        found[name] = ClassScore(
            precision=hits / predicted if predicted else None,
            recall=hits / n if n else None,
            recall_ci=wilson(hits, n),
            f1=2 * hits / (n + predicted) if n + predicted else None,
            n=n,
            predicted=predicted,
        )
    return found


def plain(item: Any) -> dict[str, Any]:
    """Return a dataclass as JSON-ready values."""
    return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(item).items()}
