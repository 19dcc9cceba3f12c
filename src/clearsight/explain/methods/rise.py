"""RISE: many random masks, weighted by what the recognizer says under them; for anything."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config
from clearsight.core.nouns import ImageHWC, ImagesNHWC
from clearsight.core.seeds import generator
from clearsight.explain.explainer import Maps, Needs
from clearsight.explain.fill import mean_colour
from clearsight.explain.question import Question
from clearsight.explain.subject import Subject

MASKED_AT_ONCE = 32


class RiseConfig(Config):
    """How many masks, and how fine.

    Args:
        masks: pictures that the recognizer scores for one map.
        cells: cells of a mask along the shorter side.
        seed: decides the masks; the same ones for every picture.
    """

    masks: int = Field(default=192, ge=8, le=20_000)
    cells: int = Field(default=7, ge=2, le=32)
    seed: int = 0


class Rise:
    """Correlates smooth random masks with the log-odds under them; masks come with their inverse.

    A hidden part fades to the picture's mean colour. With the inverse of every mask no place is
    shown more often than another, so far fewer masks are enough than published.

    Args:
        config: its options.

    Source:
        Petsiuk et al., RISE: Randomized Input Sampling for Explanation (2018), section 3.

    Example:
        >>> Rise(RiseConfig(masks=64)).needs
        'scores'
    """

    Config: ClassVar[type[Config]] = RiseConfig
    needs: ClassVar[Needs] = "scores"
    complete: ClassVar[bool] = False
    compares: ClassVar[bool] = True

    def __init__(self, config: RiseConfig) -> None:
        self.config = config

    def maps(self, subject: Subject, images_nhwc: ImagesNHWC, question: Question) -> Maps:
        """Return one map a picture: the mean change of log-odds where a pixel is shown."""
        rows = [self._one(subject, image, question, row) for row, image in enumerate(images_nhwc)]
        return np.stack(rows)

    def _one(
        self, subject: Subject, image: ImageHWC, question: Question, number: int
    ) -> NDArray[np.float32]:
        """Return one picture's map; masks are made a few at a time, always the same."""
        empty = mean_colour(image)
        way = image.astype(np.float32) - empty
        random = generator(self.config.seed, "rise")
        found, weight = np.zeros(image.shape[:2], np.float64), 0.0
        for start in range(0, self.config.masks // 2, MASKED_AT_ONCE // 2):
            count = min(MASKED_AT_ONCE // 2, self.config.masks // 2 - start)
            masks = self._masks(random, count, image.shape[0], image.shape[1])
            both = np.concatenate([masks, 1 - masks])
            shown = np.rint(empty + both[..., None] * way).astype(np.uint8)
            margins = subject.margins(shown, question.row(number, len(both)))
            differences = margins[:count] - margins[count:]
            found += np.tensordot(differences, masks - 0.5, axes=1)
            weight += count
        return (found / weight).astype(np.float32)

    def _masks(
        self, random: np.random.Generator, count: int, height: int, width: int
    ) -> NDArray[np.float32]:
        """Return (count, height, width) float32 in [0, 1]: coarse coins, enlarged and shifted."""
        cell = max(1.0, min(height, width) / self.config.cells)
        rows, columns = (int(np.ceil(size / cell)) + 1 for size in (height, width))
        large = (int(np.ceil(columns * cell)), int(np.ceil(rows * cell)))
        coins = (random.random((count, rows, columns)) < 0.5).astype(np.float32)
        shifts = random.integers(0, max(1, int(cell)), (count, 2))
        found = np.empty((count, height, width), np.float32)
        for at, (y, x) in enumerate(shifts):
            smooth = cv2.resize(coins[at], large, interpolation=cv2.INTER_LINEAR)
            found[at] = smooth[y : y + height, x : x + width]
        return found
