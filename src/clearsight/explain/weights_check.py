"""Whether a method looks at the recognizer at all: with random weights its maps must change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImagesNHWC
from clearsight.explain.explainer import Explainer
from clearsight.explain.faithfulness import CELLS, cell_means
from clearsight.explain.question import Question
from clearsight.explain.subject import Redrawn, Subject

PICTURES = 4
MOST_ALIKE = 0.7


@dataclass(frozen=True)
class WeightsCheck:
    """How alike the maps of a recognizer are to those of the same network with random weights.

    Args:
        similarity: mean rank correlation of the maps, 1 for the same order.
        n: pictures.
        passed: it is below `MOST_ALIKE`: the method looks at what was learnt.
        redrawn: which weights were random ones.
    """

    similarity: float
    n: int
    passed: bool
    redrawn: Redrawn = "every layer"

    def to_json(self) -> dict[str, Any]:
        """Return the object that `clearsight explain --json` prints."""
        return {
            "similarity": self.similarity,
            "n": self.n,
            "passed": self.passed,
            "redrawn": self.redrawn,
        }


def check_weights(
    explainer: Explainer,
    subject: Subject,
    images_nhwc: ImagesNHWC,
    question: Question,
    seed: int = 0,
) -> WeightsCheck:
    """Explain a few pictures with the weights as they are and drawn anew, and compare.

    Args:
        explainer: the method.
        subject: the recognizer.
        images_nhwc: (n, h, w, c) uint8, prepared; at most `PICTURES` are used.
        question: n questions.
        seed: of the weights.

    Raises:
        UsageError, MissingExtraError: the recognizer's weights cannot be drawn anew.

    Source:
        Adebayo et al., Sanity Checks for Saliency Maps (2018), section 3.
    """
    images = images_nhwc[:PICTURES]
    against = None if question.against is None else question.against[:PICTURES]
    asked = Question(question.labels[:PICTURES], against)
    own = explainer.maps(subject, images, asked)
    other = explainer.maps(subject.randomized(seed), images, asked)
    similarity = float(np.mean([rank_correlation(a, b) for a, b in zip(own, other, strict=True)]))
    return WeightsCheck(similarity, len(images), similarity < MOST_ALIKE, subject.redrawn)


def rank_correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return Spearman's correlation of two maps' cells; 1 where both are flat, 0 where one is.

    Args:
        one, other: (h, w) float32.

    Example:
        >>> ramp = np.arange(16, dtype=np.float32).reshape(4, 4)
        >>> rank_correlation(ramp, ramp), rank_correlation(ramp, -ramp)
        (1.0, -1.0)
    """
    size = (min(CELLS, one.shape[0]), min(CELLS, one.shape[1]))
    a, b = (_ranks(cell_means(values, size).ravel()) for values in (one, other))
    spreads = float(a.std()), float(b.std())
    if min(spreads) == 0:
        return float(max(spreads) == 0)
    return round(float(((a - a.mean()) * (b - b.mean())).mean() / (spreads[0] * spreads[1])), 6)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean rank of every value among all."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: NDArray[np.float64] = last - (counts + 1) / 2
    return middle[which]
