"""Classes as often as the square root of their number of pictures."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Task
from clearsight.learn.samplers._shares import pass_with_shares


class SquareRoot:
    """Shares proportional to n_k^power: halfway between shuffling and balance.

    Args:
        config: `power`; 1 is shuffling, 0 is balance.

    Source:
        Mahajan et al., Exploring the Limits of Weakly Supervised Pretraining (2018), section 2.2.

    Example:
        >>> labels = np.array([0] * 9 + [1])
        >>> sampler = SquareRoot(SquareRoot.Config())
        >>> passed = sampler.order(labels, 2, 0.0, np.random.default_rng(1))
        >>> int(np.count_nonzero(labels[passed])) in (2, 3)  # a quarter of ten
        True
    """

    class Config(BaseConfig):
        """Options of the sampler."""

        power: float = Field(default=0.5, ge=0, le=1)

    tasks: ClassVar[tuple[Task, ...]] = ("single-label", "ordinal")
    balances: ClassVar[bool] = True

    def __init__(self, config: SquareRoot.Config) -> None:
        self.config = config

    def order(
        self,
        labels: NDArray[np.int64],
        classes: int,
        progress: float,
        random: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Return (n,) picture numbers; classes that have pictures share the pass."""
        counts = np.bincount(labels, minlength=classes).astype(np.float64)
        return pass_with_shares(labels, np.power(counts, self.config.power), random)
