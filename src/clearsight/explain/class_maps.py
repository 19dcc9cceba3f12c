"""What a recognizer looks at, class by class: average maps show shortcuts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImagesNHWC
from clearsight.explain.explainer import Explainer, Maps
from clearsight.explain.heat import strength
from clearsight.explain.place import peak
from clearsight.explain.question import Question
from clearsight.explain.subject import Subject

BORDER = 0.125
"""The border is so wide on each side, in parts of the picture's."""
SUSPICIOUS = 2.0
"""More evidence in the border than this many times its area says is worth a look."""


@dataclass(frozen=True)
class ClassMap:
    """Where the evidence for one class is, on average.

    Args:
        label: class name.
        n: pictures.
        map_hw: (h, w) float32, mean of maps whose evidence sums to 1 each.
        picture: (h, w, c) uint8, mean of the pictures.
        border_share: part of the evidence in the outer border, 1 for all.
        border_area: part of the picture that the border is.
        peak: (y, x) of the mean map, in the model's input.
    """

    label: str
    n: int
    map_hw: NDArray[np.float32]
    picture: NDArray[np.uint8]
    border_share: float
    border_area: float
    peak: tuple[int, int]

    @property
    def suspicious(self) -> bool:
        """The border says far more than its area lets expect: perhaps a shortcut."""
        return self.border_share > SUSPICIOUS * self.border_area

    def to_json(self) -> dict[str, Any]:
        """Return what programs read."""
        return {
            "label": self.label,
            "n": self.n,
            "peak": list(self.peak),
            "border_share": self.border_share,
            "border_area": self.border_area,
            "suspicious": self.suspicious,
        }


def class_maps(
    explainer: Explainer,
    subject: Subject,
    pictures: Callable[[int], Iterable[ImagesNHWC]],
    told: Callable[[int], None] = lambda done: None,
) -> list[ClassMap]:
    """Return the average map of every class that has pictures.

    Args:
        explainer: the method.
        subject: the recognizer.
        pictures: class number -> batches (n, h, w, c) uint8 of pictures that show it.
        told: called with how many pictures are done.
    """
    found, done = [], 0
    for number, label in enumerate(subject.classes):
        total, mean, n = np.zeros(0), np.zeros(0), 0
        for images in pictures(number):
            question = Question(np.full(len(images), number, np.int64))
            maps = _shares(explainer.maps(subject, images, question))
            total = maps.sum(axis=0) + (total if n else 0)
            mean = images.sum(axis=0, dtype=np.float64) + (mean if n else 0)
            n += len(images)
            done += len(images)
            told(done)
        if n:
            found.append(_class_map(label, n, total / n, mean / n))
    return found


def _shares(maps: Maps) -> NDArray[np.float64]:
    """Return maps whose evidence sums to 1; a flat map counts everywhere alike."""
    evidence = np.stack([strength(one) for one in maps]).astype(np.float64)
    sums = evidence.sum(axis=(1, 2), keepdims=True)
    even = 1 / evidence[0].size
    shares: NDArray[np.float64] = np.where(sums > 0, evidence / np.where(sums > 0, sums, 1), even)
    return shares


def _class_map(
    label: str, n: int, mean: NDArray[np.float64], picture: NDArray[np.float64]
) -> ClassMap:
    rows, columns = (max(1, round(BORDER * size)) for size in mean.shape)
    inner = mean[rows:-rows, columns:-columns]
    map_hw = mean.astype(np.float32)
    return ClassMap(
        label=label,
        n=n,
        map_hw=map_hw,
        picture=np.rint(picture).astype(np.uint8),
        border_share=float(1 - inner.sum() / mean.sum()),
        border_area=1 - inner.size / mean.size,
        peak=peak(map_hw),
    )
