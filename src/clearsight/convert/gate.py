"""What a variant loses: both forms answer the same validation pictures, pair by pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearsight.core.errors import DataError
from clearsight.core.progress import Progress
from clearsight.data.dataset import Dataset
from clearsight.engines.predictor import BundlePredictor
from clearsight.evaluate.evaluation import LeftOut
from clearsight.evaluate.paired import paired_bootstrap
from clearsight.evaluate.score import score_pictures
from clearsight.evaluate.scored import Scored

POINTS = 100
"""Points of accuracy in the whole."""


@dataclass(frozen=True)
class Answers:
    """What one form of a recognizer says of the validation pictures.

    Args:
        scored: probabilities beside the truth.
        kept: which pictures could be decoded.
    """

    scored: Scored
    kept: tuple[int, ...]


@dataclass(frozen=True)
class Drop:
    """Accuracy lost from one form to the other, in points of 100.

    Args:
        value: negative where accuracy was won.
        low, high: the 95 % interval.
        n: pictures.
        agreement: share of pictures with the same answer.
        before, after: accuracy of both forms, in [0, 1].
    """

    value: float
    low: float
    high: float
    n: int
    agreement: float
    before: float
    after: float

    def __str__(self) -> str:
        """In words: the drop, its interval and what it stands on."""
        return (
            f"{self.value:.2f} points (95 % CI {self.low:.2f} to {self.high:.2f}, n {self.n:,}; "
            f"{self.before:.4f} -> {self.after:.4f}, same answer for {self.agreement:.1%})"
        )


def answers(predictor: BundlePredictor, dataset: Dataset, progress: Progress) -> Answers:
    """Let one form answer every picture.

    Raises:
        DataError: no picture can be scored, or a class that the recognizer does not know.
    """
    left_out: list[LeftOut] = []
    scored, kept = score_pictures(predictor, dataset, progress, left_out)
    return Answers(scored, tuple(kept))


def drop_between(before: Answers, after: Answers, seed: int = 0) -> Drop:
    """Return what is lost from one form to the other on the same pictures.

    Args:
        before: what the fp32 model answers.
        after: what the variant answers.
        seed: fixes the draws of the bootstrap.

    Raises:
        DataError: they did not answer the same pictures.
    """
    if before.kept != after.kept:
        raise DataError(
            "The two forms of the model were not asked about the same pictures: the data changed "
            "while it was read. Run the command again."
        )
    first, second = before.scored, after.scored
    # the interval of the accuracy does not look at classes; several labels have no one class
    labels = first.labels if first.labels.ndim == 1 else np.zeros(first.n, np.int64)
    found, _ = paired_bootstrap(first.correct, second.correct, labels, seed=seed)
    same = first.predicted == second.predicted
    alike = same if same.ndim == 1 else same.all(axis=1)
    return Drop(
        value=POINTS * found.value + 0.0,  # no -0.00 for people
        low=POINTS * found.low + 0.0,
        high=POINTS * found.high + 0.0,
        n=first.n,
        agreement=float(alike.mean()),
        before=float(first.correct.mean()),
        after=float(second.correct.mean()),
    )
