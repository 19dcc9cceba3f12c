"""What a recognizer is worth when it may leave pictures unanswered: the risk-coverage curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.proportions import wilson
from clearsight.core.rejection import Familiarity, Rejection

POINTS = 50


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """One point of the curve.

    Args:
        coverage: share of the pictures that is answered, the most familiar ones.
        risk: share of these that is wrong.
        low, high: the risk's 95 % Wilson interval.
        n: pictures that are answered.
    """

    coverage: float
    risk: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Share:
    """A proportion with its 95 % Wilson interval; `value` is None where n is 0."""

    value: float | None
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Return value, ci and n."""
        return {"value": self.value, "ci": [self.low, self.high], "n": self.n}


@dataclass(frozen=True, slots=True)
class Selective:
    """What leaving unfamiliar pictures unanswered brings.

    Args:
        method: what familiarity is; "max-softmax" where the recognizer has none of its own.
        threshold: the Bundle's; None where it accepts every picture.
        curve: from the most familiar pictures to all of them.
        aurc: the area under the curve: the mean risk over all coverages.
        best_aurc: what an order that puts every mistake last would have.
        accepted: share of the pictures that is accepted.
        right_accepted, right_rejected: share of these that is right.
        n: pictures.
    """

    method: str
    threshold: float | None
    curve: tuple[RiskPoint, ...]
    aurc: float
    best_aurc: float
    accepted: Share
    right_accepted: Share
    right_rejected: Share
    n: int

    def to_json(self) -> dict[str, Any]:
        """Return the `rejection` object of `clearsight evaluate --json`."""
        return {
            "method": self.method,
            "threshold": self.threshold,
            "accepted": self.accepted.to_json(),
            "accuracy_accepted": self.right_accepted.to_json(),
            "accuracy_rejected": self.right_rejected.to_json(),
            "aurc": self.aurc,
            "best_aurc": self.best_aurc,
            "risk_coverage": [
                {"coverage": p.coverage, "risk": p.risk, "ci": [p.low, p.high], "n": p.n}
                for p in self.curve
            ],
            "n": self.n,
        }


def selective(
    familiarity: Familiarity, correct: NDArray[np.bool_], rejection: Rejection | None
) -> Selective:
    """Return the risk-coverage curve and what the threshold gives.

    Args:
        familiarity: (n,) higher for pictures that look known.
        correct: (n,) whether the answer is right.
        rejection: the Bundle's; None where it accepts every picture.

    Source: Geifman and El-Yaniv 2017, "Selective Classification for Deep Neural Networks"
        (risk and coverage); Geifman et al. 2019, "Bias-Reduced Uncertainty Estimation for Deep
        Neural Classifiers" (AURC). Pictures of equal familiarity share their mean risk.
    """
    n = len(correct)
    taken = np.ones(n, np.bool_) if rejection is None else familiarity >= rejection.threshold
    wrong = _expected_wrong(familiarity, correct)
    mistakes = int((~correct).sum())
    ideal = np.maximum(np.arange(1, n + 1) - (n - mistakes), 0)
    places = np.arange(1, n + 1)
    return Selective(
        method="max-softmax" if rejection is None else rejection.method,
        threshold=None if rejection is None else rejection.threshold,
        curve=_curve(wrong),
        aurc=float((wrong / places).mean()),
        best_aurc=float((ideal / places).mean()),
        accepted=_share(taken),
        right_accepted=_share(correct[taken]),
        right_rejected=_share(correct[~taken]),
        n=n,
    )


def _expected_wrong(familiarity: Familiarity, correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (n,): mistakes among the 1, 2, ... most familiar, ties in the middle of all orders."""
    kinds, place = np.unique(-familiarity, return_inverse=True)
    counts = np.bincount(place, minlength=len(kinds))
    rate = np.bincount(place, weights=~correct, minlength=len(kinds)) / counts
    return np.cumsum(np.repeat(rate, counts))


def _curve(wrong: NDArray[np.float64]) -> tuple[RiskPoint, ...]:
    n = len(wrong)
    sizes = np.unique(np.ceil(n * np.arange(1, POINTS + 1) / POINTS).astype(np.int64))
    points = []
    for size in sizes.tolist():
        found = float(wrong[size - 1])
        low, high = wilson(round(found), size)
        risk = found / size
        points.append(RiskPoint(size / n, risk, min(low, risk), max(high, risk), size))
    return tuple(points)


def _share(hits: NDArray[np.bool_]) -> Share:
    n, found = len(hits), int(hits.sum())
    return Share(found / n if n else None, *wilson(found, n), n)
