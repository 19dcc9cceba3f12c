"""Every picture once a pass, in random order."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Task


class Shuffle:
    """Random reshuffling: classes appear as often as they have pictures.

    Source:
        Bottou, Curiously Fast Convergence of Some Stochastic Gradient Descent Algorithms (2009).

    Example:
        >>> passed = Shuffle(Shuffle.Config()).order(
        ...     np.array([0, 0, 1]), 2, 0.0, np.random.default_rng(0)
        ... )
        >>> sorted(passed.tolist())
        [0, 1, 2]
    """

    class Config(BaseConfig):
        """It has no options."""

    tasks: ClassVar[tuple[Task, ...]] = ("single-label", "multi-label", "ordinal")
    balances: ClassVar[bool] = False

    def __init__(self, config: Shuffle.Config) -> None:
        self.config = config

    def order(
        self,
        labels: NDArray[np.int64],
        classes: int,
        progress: float,
        random: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Return a permutation of the picture numbers; only their number is looked at."""
        return random.permutation(len(labels))
