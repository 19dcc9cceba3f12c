"""Occlusion: hide a part, see what the score loses; for any recognizer."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config
from clearsight.core.nouns import ImageHWC, ImagesNHWC
from clearsight.explain.explainer import Maps, Needs
from clearsight.explain.fill import mean_colour
from clearsight.explain.question import Question
from clearsight.explain.subject import SCORED_AT_ONCE, Subject


class OcclusionConfig(Config):
    """How large a part is hidden, and how densely.

    Args:
        patch: side of the hidden square in parts of the picture's shorter side.
        overlap: part of its side by which neighbouring squares overlap.
    """

    patch: float = Field(default=0.2, gt=0, le=0.9)
    overlap: float = Field(default=0.5, ge=0, le=0.9)


class Occlusion:
    """Hides squares one after another under the picture's mean colour; measures lost log-odds.

    Args:
        config: its options.

    Source:
        Zeiler, Fergus, Visualizing and Understanding Convolutional Networks (2014), section 4.2.

    Example:
        >>> Occlusion(OcclusionConfig()).needs
        'scores'
    """

    Config: ClassVar[type[Config]] = OcclusionConfig
    needs: ClassVar[Needs] = "scores"
    complete: ClassVar[bool] = False
    compares: ClassVar[bool] = True

    def __init__(self, config: OcclusionConfig) -> None:
        self.config = config

    def maps(self, subject: Subject, images_nhwc: ImagesNHWC, question: Question) -> Maps:
        """Return one map a picture: the loss of the squares over a pixel, their mean."""
        height, width = images_nhwc.shape[1:3]
        side = max(1, round(self.config.patch * min(height, width)))
        step = max(1, round(side * (1 - self.config.overlap)))
        squares = [(y, x) for y in _starts(height, side, step) for x in _starts(width, side, step)]
        whole = subject.margins(images_nhwc, question)
        rows = []
        for number, image in enumerate(images_nhwc):
            hidden = self._hidden(subject, image, question, number, squares, side)
            rows.append(_spread(whole[number] - hidden, squares, side, (height, width)))
        return np.stack(rows)

    @staticmethod
    def _hidden(
        subject: Subject,
        image: ImageHWC,
        question: Question,
        number: int,
        squares: list[tuple[int, int]],
        side: int,
    ) -> NDArray[np.float64]:
        """Return the margin with each square hidden."""
        fill = np.rint(mean_colour(image)[0, 0]).astype(np.uint8)
        found = []
        for start in range(0, len(squares), SCORED_AT_ONCE):
            part = squares[start : start + SCORED_AT_ONCE]
            batch = np.repeat(image[None], len(part), axis=0)
            for row, (y, x) in enumerate(part):
                batch[row, y : y + side, x : x + side] = fill
            found.append(subject.margins(batch, question.row(number, len(part))))
        return np.concatenate(found)


def _starts(length: int, side: int, step: int) -> list[int]:
    """Return where squares begin; the last one ends at the border."""
    return sorted({*range(0, length - side + 1, step), length - side})


def _spread(
    losses: NDArray[np.float64],
    squares: list[tuple[int, int]],
    side: int,
    size: tuple[int, int],
) -> NDArray[np.float32]:
    total, count = np.zeros(size), np.zeros(size)
    for loss, (y, x) in zip(losses, squares, strict=True):
        total[y : y + side, x : x + side] += loss
        count[y : y + side, x : x + side] += 1
    return (total / count).astype(np.float32)
