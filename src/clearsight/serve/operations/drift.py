"""Has the world moved? Live answers against those for the validation pictures.

Three questions, each a test whose threshold follows from the number of pictures on both sides:
are the classes as frequent as they were, are the scores as sure, do the embeddings lie where they
lay. Windows do not overlap, so a service whose pictures are as they were in training raises a false
alarm in one window of a hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clearsight.core.reference import Features, Reference, standard_moments
from clearsight.core.seeds import generator

FALSE_ALARMS = 0.01
"""Share of windows without any change that are allowed to raise an alarm."""
DRAWS = 999
MOST_BINS = 64
"""Classes beyond the most frequent ones are counted together: the cost of a test is bounded."""

Kind = Literal["classes", "scores", "features"]


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen of some pictures in a row.

    Args:
        classes: (n,) index of each picture's best class.
        scores: (n,) its probability.
        projected: (n, k) embeddings in the fixed directions, or None.
    """

    classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    projected: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """The answer to one of the questions.

    Args:
        kind: what was compared.
        distance: how far apart: Jensen-Shannon divergence in bits (0 to 1) of classes and scores;
            for features the mean squared shift of their moments in standard deviations.
        p_value: chance of a distance as large as this when nothing changed.
        drifted: it is too large for chance.
    """

    kind: Kind
    distance: float
    p_value: float
    drifted: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one window says.

    Args:
        pictures: in the window.
        measures: one a question that could be asked.
    """

    pictures: int
    measures: tuple[Measure, ...]

    @property
    def drifted(self) -> bool:
        """Whether any of the measures is too large for chance."""
        return any(measure.drifted for measure in self.measures)

    def as_json(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {
            "drifted": self.drifted,
            "pictures": self.pictures,
            "measures": [asdict(measure) for measure in self.measures],
        }


def judge(reference: Reference, window: Window, seed: int = 0) -> Verdict:
    """Compare a window with the reference of its Bundle.

    Args:
        reference: from the manifest.
        window: at least one picture.
        seed: of the draws; the same window and seed give the same verdict.

    Returns:
        A measure of classes, of scores, and of features where both sides have them. Together
        they raise a false alarm with probability `FALSE_ALARMS` at most.

    Source: two multinomial samples are drawn from the pooled one (parametric bootstrap: Efron and
        Tibshirani 1993, chapter 16); Lin 1991 for the divergence; the mean of correlated squared
        normals is a sum of chi-squares weighted by the eigenvalues of the correlation (Box 1954,
        theorem 2.1).
    """
    found: list[tuple[Kind, float, float]] = []
    live_classes = np.bincount(window.classes, minlength=len(reference.class_counts))
    found.append(("classes", *_compare(reference.class_counts, live_classes, seed)))
    edges = np.array(reference.score_edges)
    bins = np.searchsorted(edges, window.scores, side="right")
    live_scores = np.bincount(bins, minlength=len(edges) + 1)
    found.append(("scores", *_compare(reference.score_counts, live_scores, seed)))
    if reference.features is not None and window.projected is not None:
        found.append(("features", *_compare_moments(reference.features, window.projected, seed)))
    level = FALSE_ALARMS / len(found)
    measures = [
        Measure(kind, round(distance, 6), p_value, p_value <= level)
        for kind, distance, p_value in found
    ]
    return Verdict(len(window.classes), tuple(measures))


def divergence(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Return the Jensen-Shannon divergence in bits of counts (..., k), along the last axis.

    Example:
        >>> float(divergence(np.array([1.0, 0.0]), np.array([0.0, 2.0])))
        1.0
    """
    p = first / first.sum(axis=-1, keepdims=True)
    q = second / second.sum(axis=-1, keepdims=True)
    middle = (p + q) / 2
    return np.asarray(np.maximum(_entropy(middle) - (_entropy(p) + _entropy(q)) / 2, 0.0))


def _entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    safe = np.where(shares > 0, shares, 1.0)
    return np.asarray(-(shares * np.log2(safe)).sum(axis=-1))


def _compare(reference: Sequence[int], live: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """Return the distance of two counts, and the chance of it when both come from one source."""
    first, second = _lumped(np.asarray(reference, np.float64), live.astype(np.float64))
    distance = float(divergence(first, second))
    pooled = first + second
    draw = generator(seed, "drift", len(live))
    one = draw.multinomial(int(first.sum()), pooled / pooled.sum(), size=DRAWS)
    other = draw.multinomial(int(second.sum()), pooled / pooled.sum(), size=DRAWS)
    as_large = int((divergence(one, other) >= distance - 1e-12).sum())
    return distance, (1 + as_large) / (1 + DRAWS)


def _lumped(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both counts with all but the most frequent bins of both together in one."""
    if len(first) <= MOST_BINS:
        return first, second
    order = np.argsort(-(first + second), kind="stable")
    kept, rest = order[: MOST_BINS - 1], order[MOST_BINS - 1 :]
    return np.append(first[kept], first[rest].sum()), np.append(second[kept], second[rest].sum())


def _compare_moments(
    reference: Features, projected: NDArray[np.float64], seed: int
) -> tuple[float, float]:
    """Return how far means and spreads moved, and the chance of that when nothing changed."""
    means, deviations = np.array(reference.means), np.array(reference.deviations)
    moments = standard_moments(projected, means, deviations).mean(axis=0)
    wanted = np.concatenate([np.zeros(len(means)), (deviations > 0).astype(np.float64)])
    spread = np.concatenate([(deviations > 0).astype(np.float64), reference.square_deviations])
    varying = spread > 0
    if not varying.any():
        return 0.0, 1.0
    shifts = (moments[varying] - wanted[varying]) / spread[varying]
    distance = float((shifts**2).mean())
    chance = 1 / len(projected) + 1 / reference.n
    draw = generator(seed, "drift", "features")
    squares = draw.chisquare(1, size=(DRAWS, len(reference.eigenvalues)))
    drawn = squares @ np.array(reference.eigenvalues) * chance / int(varying.sum())
    return distance, (1 + int((drawn >= distance).sum())) / (1 + DRAWS)
