"""Square: random squares of the full radius, kept where they help; asks for scores alone."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import PixelsNHWC, Scores
from clearsight.robust.attacks import Labels, Target
from clearsight.robust.steps import Values, project

FIRST_SHARE = 0.8
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10,000 queries, after how many the share of the picture that changes is halved."""
SCHEDULE = 10_000


class Square:
    """The square attack.

    Args:
        config: number of queries.

    Source: Andriushchenko, Croce, Flammarion and Hein 2020, "Square Attack: a Query-efficient
        Black-box Adversarial Attack via Random Search".
    """

    black_box: ClassVar[bool] = True
    baseline: ClassVar[str] = ""

    class Config(BaseConfig):
        """Options of the attack.

        Args:
            queries: how often each picture's scores may be asked for; the published ensemble
                allows 5,000.
        """

        queries: int = Field(default=1000, ge=1, le=1_000_000)

    def __init__(self, config: Square.Config) -> None:
        self.config = config

    def __call__(
        self,
        model: Target,
        pixels_nhwc: PixelsNHWC,
        labels: Labels,
        radius: float,
        random: np.random.Generator,
    ) -> PixelsNHWC:
        """Return changed pictures; see `Attack`."""
        n, height, width, channels = pixels_nhwc.shape
        stripes = random.choice((-radius, radius), (n, 1, width, channels)).astype(np.float32)
        best = project(pixels_nhwc + stripes, pixels_nhwc, radius)
        margin = _margin(model.logits(best), labels)
        for query in range(self.config.queries - 1):
            side = _side(query / self.config.queries, height, width)
            top, left = (int(random.integers(0, size - side + 1)) for size in (height, width))
            colour = random.choice((-2 * radius, 2 * radius), channels).astype(np.float32)
            open_ = np.flatnonzero(margin > 0)
            if not len(open_):
                break
            tried = best[open_].copy()
            tried[:, top : top + side, left : left + side] += colour
            tried = project(tried, pixels_nhwc[open_], radius)
            reached = _margin(model.logits(tried), labels[open_])
            better = (reached < margin[open_]) | (reached <= 0)
            best[open_[better]] = tried[better]
            margin[open_[better]] = reached[better]
        return best


def _side(progress: float, height: int, width: int) -> int:
    """Return the side of the square after a share of the queries."""
    halved = sum(progress * SCHEDULE > done for done in HALVINGS)
    side = math.floor(math.sqrt(FIRST_SHARE * 0.5**halved * height * width) + 0.5)
    return max(1, min(side, height, width))


def _margin(logits: Scores, labels: Labels) -> Values:
    """Return by how much the true class leads; 0 or less where it does not."""
    rows = np.arange(len(labels))
    others = logits.astype(np.float64)
    own = others[rows, labels].copy()
    others[rows, labels] = -np.inf
    return np.asarray(own - others.max(axis=1))
