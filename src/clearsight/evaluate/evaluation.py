"""What an evaluation found: every figure with its n and its interval."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


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


@dataclass(frozen=True, slots=True)
class Case:
    """One picture with what it is and what it was taken for.

    Args:
        index: its place in the data set's samples.
        name: its name in the data set.
        truth, predicted: class names.
        score: calibrated probability of `predicted`.
        truth_score: calibrated probability of `truth`.
    """

    index: int
    name: str
    truth: str
    predicted: str
    score: float
    truth_score: float


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


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A picture that was found but not scored, and why."""

    name: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Evaluation:
    """Everything that scoring a data set found.

    Args:
        classes: the recognizer's class names.
        n: pictures scored. `found` = n + len(quarantined) + len(skipped).
        quarantined: pictures that cannot be decoded.
        skipped: files that are no pictures, and pictures without a label.
        measures: every registered metric by key.
        per_class: by class name, in the recognizer's order.
        confusion: (k, k) int64, rows are the truth, columns the prediction.
        reliability: the calibrated scores' bins.
        reliability_before: the same before temperature scaling; empty when unknown.
        temperature: what the scores were divided by; None when unknown.
        mistakes: the most confident ones, worst first.
        successes: a few right ones, spread over the classes.
        seconds: wall-clock time of the scoring.
    """

    classes: tuple[str, ...]
    n: int
    quarantined: tuple[LeftOut, ...]
    skipped: tuple[LeftOut, ...]
    measures: dict[str, Measure]
    per_class: dict[str, ClassScore]
    confusion: NDArray[np.int64]
    reliability: tuple[Bin, ...]
    reliability_before: tuple[Bin, ...]
    temperature: float | None
    mistakes: tuple[Case, ...]
    successes: tuple[Case, ...]
    seconds: float

    @property
    def found(self) -> int:
        """Everything the data set held: scored, quarantined and skipped."""
        return self.n + len(self.quarantined) + len(self.skipped)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `clearsight evaluate --json` prints (DESIGN's field names)."""
        accuracy = self.measures["accuracy"]
        figures = {key.replace("-", "_"): item for key, item in self.measures.items()}
        return {
            "n": self.n,
            "accuracy": accuracy.value,
            "accuracy_ci": [accuracy.low, accuracy.high],
            **{key: item.value for key, item in figures.items()},
            "intervals": {key: [item.low, item.high] for key, item in figures.items()},
            "per_class": {name: _plain(item) for name, item in self.per_class.items()},
            "conformal": {},
            "classes": list(self.classes),
            "confusion_matrix": self.confusion.tolist(),
            "reliability": [_plain(item) for item in self.reliability],
            "temperature": self.temperature,
            "found": self.found,
            "used": self.n,
            "quarantined": [_plain(item) for item in self.quarantined],
            "skipped": [_plain(item) for item in self.skipped],
            "mistakes": [_plain(item) for item in self.mistakes],
            "seconds": self.seconds,
        }

    def confusions(self) -> list[Confusion]:
        """Return which class is taken for which other, most pictures first."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        rows, columns = np.nonzero(wrong)
        counts = wrong[rows, columns]
        order = np.lexsort((columns, rows, -counts))
        totals = self.confusion.sum(axis=1)
        return [
            Confusion(
                truth=self.classes[rows[i]],
                predicted=self.classes[columns[i]],
                n=int(counts[i]),
                of=int(totals[rows[i]]),
            )
            for i in order
        ]


def _plain(item: Any) -> dict[str, Any]:
    values = asdict(item)
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
