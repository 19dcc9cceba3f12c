"""Whether a map tells the truth: what the score does when its parts are deleted or inserted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImageHWC, ImagesNHWC, Scores
from clearsight.core.seeds import generator
from clearsight.explain.fill import blurred
from clearsight.explain.question import Question

CELLS = 14
"""A picture is deleted and inserted in so many cells along each side, at most."""
STEPS = 10
RANDOM_MAPS = 5
LEAST_GAIN = 0.02
SPREADS = 4.0
"""A map must be better than random ones by so many of their standard deviations (by luck alone one
in a hundred is), and than the centre by `LEAST_GAIN`, of 1."""

Probabilities = Callable[[ImagesNHWC], Scores]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Faithfulness:
    """What the class's probability is, on average, while a picture is taken apart or put together.

    Args:
        deletion: as the most important parts are deleted first; lower is better.
        insertion: as they are inserted first; higher is better.
        random_deletion, random_insertion: means of maps drawn at random.
        centre_deletion, centre_insertion: of a blob in the picture's centre.
        faithful: insertion less deletion is clearly better than that of every one of these.
    """

    deletion: float
    insertion: float
    random_deletion: float
    random_insertion: float
    centre_deletion: float
    centre_insertion: float
    faithful: bool


def faithfulness(
    probabilities: Probabilities,
    image_hwc: ImageHWC,
    question: Question,
    map_hw: NDArray[np.float32],
    seed: int = 0,
) -> Faithfulness:
    """Score one map against maps that know nothing.

    Cells are replaced by (or come out of) the blurred picture. Random maps and the centre blob
    order the same cells, so nothing but the order differs.

    Args:
        probabilities: of the recognizer, for prepared pictures.
        image_hwc: (h, w, c) uint8, prepared.
        question: one question.
        map_hw: (h, w) float32, larger is more evidence.
        seed: of the random maps.

    Returns:
        The scores, each in [0, 1].

    Source:
        Petsiuk et al., RISE (2018), section 4.2 (deletion and insertion).
    """
    size = (min(CELLS, image_hwc.shape[0]), min(CELLS, image_hwc.shape[1]))
    random = generator(seed, "random-maps")
    others = [random.random(size) for _ in range(RANDOM_MAPS)] + [_centre(size)]
    maps = [cell_means(map_hw, size), *others]
    empty = np.rint(blurred(image_hwc)).astype(np.uint8)
    both = np.stack([image_hwc, empty])
    ends = question.row(0, 2).score(probabilities(both))
    scored = [_scored(probabilities, both, ends, question, one) for one in maps]
    deleted, inserted = (np.array([one[at] for one in scored]) for at in (0, 1))
    gains = inserted - deleted
    varies = bool(np.ptp(maps[0]) > 0)
    return Faithfulness(
        deletion=float(deleted[0]),
        insertion=float(inserted[0]),
        random_deletion=float(deleted[1:-1].mean()),
        random_insertion=float(inserted[1:-1].mean()),
        centre_deletion=float(deleted[-1]),
        centre_insertion=float(inserted[-1]),
        faithful=varies and bool(gains[0] > _needed(gains[1:-1], gains[-1])),
    )


def _needed(random_gains: Floats, centre_gain: float) -> float:
    """Return what insertion less deletion must be more than."""
    spread = SPREADS * float(random_gains.std(ddof=1))
    return max(float(random_gains.mean()) + max(LEAST_GAIN, spread), centre_gain + LEAST_GAIN)


def _scored(
    probabilities: Probabilities,
    both: ImagesNHWC,
    ends: Floats,
    question: Question,
    cells: Floats,
) -> tuple[float, float]:
    """Return the mean score while cells are deleted, and while they are inserted.

    Args:
        probabilities: of the recognizer.
        both: the picture, and what stands where it is hidden.
        ends: their scores.
        question: one question.
        cells: importance, (rows, columns).
    """
    image, empty = both
    order = np.argsort(-cells, axis=None, kind="stable")
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    ranks = cv2.resize(
        rank.reshape(cells.shape).astype(np.float32),
        (image.shape[1], image.shape[0]),
        interpolation=cv2.INTER_NEAREST,
    )
    counts = np.linspace(0, order.size, STEPS + 1)[1:-1, None, None, None]
    gone = ranks[None, :, :, None] < counts
    shown = np.concatenate([np.where(gone, empty, image), np.where(gone, image, empty)])
    found = question.row(0, len(shown)).score(probabilities(shown))
    deleted, inserted = found[: STEPS - 1], found[STEPS - 1 :]
    return (
        _mean(np.concatenate([ends[:1], deleted, ends[1:]])),
        _mean(np.concatenate([ends[1:], inserted, ends[:1]])),
    )


def _mean(scores: Floats) -> float:
    """Return the area under a curve whose steps are equally wide, of 1."""
    return float((scores[1:] + scores[:-1]).mean() / 2)


def cell_means(map_hw: NDArray[np.float32], size: tuple[int, int]) -> Floats:
    """Return a map's means over a grid of `size` (rows, columns) cells, float64."""
    found = cv2.resize(map_hw, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(found, dtype=np.float64)


def _centre(size: tuple[int, int]) -> Floats:
    """Return a blob in the middle."""
    y, x = (np.linspace(-1, 1, count) for count in size)
    found: Floats = np.exp(-2 * (y[:, None] ** 2 + x[None, :] ** 2))
    return found
