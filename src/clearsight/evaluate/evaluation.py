"""What an evaluation found: every figure with its n and its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clearsight.evaluate.figures import Figures, plain
from clearsight.evaluate.reliability import Bin
from clearsight.evaluate.selective import Selective
from clearsight.evaluate.set_figures import SetFigures
from clearsight.evaluate.slices import Slice


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
class LeftOut:
    """A picture that was found but not scored, and why."""

    name: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Evaluation:
    """Everything that scoring a data set found; found = n + quarantined + skipped.

    Args:
        figures: every metric, class and confusion.
        quarantined: pictures that cannot be decoded.
        skipped: what is no labelled picture.
        reliability: the calibrated scores' bins.
        reliability_before: the same before temperature scaling; empty when unknown.
        temperature: what the scores were divided by; None when unknown.
        mistakes: the most confident ones, worst first.
        successes: a few right ones, spread over the classes.
        seconds: wall-clock time of the scoring.
        sets: what the recognizer's conformal sets gave, by level; empty where it has none.
        selective: risk and coverage; None for a multi-label recognizer.
        slices: accuracy on parts of the data, the worst first.
    """

    figures: Figures
    quarantined: tuple[LeftOut, ...]
    skipped: tuple[LeftOut, ...]
    reliability: tuple[Bin, ...]
    reliability_before: tuple[Bin, ...]
    temperature: float | None
    mistakes: tuple[Case, ...]
    successes: tuple[Case, ...]
    seconds: float
    sets: tuple[SetFigures, ...] = ()
    selective: Selective | None = None
    slices: tuple[Slice, ...] = ()

    @property
    def n(self) -> int:
        """Pictures scored."""
        return self.figures.n

    @property
    def accuracy(self) -> float:
        """The fraction of them that is recognised."""
        return self.figures.measures["accuracy"].value

    @property
    def found(self) -> int:
        """Everything the data set held: scored, quarantined and skipped."""
        return self.n + len(self.quarantined) + len(self.skipped)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `clearsight evaluate --json` prints (DESIGN's field names).

        `conformal` is empty where the Bundle holds no conformal quantiles.
        """
        return {
            **self.figures.to_json(),
            "conformal": {str(item.level): item.to_json() for item in self.sets},
            "rejection": self.selective.to_json() if self.selective else None,
            "slices": [item.to_json() for item in self.slices],
            "classes": list(self.figures.classes),
            "confusion_matrix": self.figures.confusion.tolist(),
            "reliability": [plain(item) for item in self.reliability],
            "temperature": self.temperature,
            "found": self.found,
            "used": self.n,
            "quarantined": [plain(item) for item in self.quarantined],
            "skipped": [plain(item) for item in self.skipped],
            "mistakes": [plain(item) for item in self.mistakes],
            "seconds": self.seconds,
        }
