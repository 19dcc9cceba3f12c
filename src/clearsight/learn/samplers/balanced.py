"""Every class equally often, from the start or by and by."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.config import Config as BaseConfig
from clearsight.core.nouns import Task
from clearsight.learn.samplers._shares import pass_with_shares


class Balanced:
    """Class-balanced sampling: shares go from those of the pictures to equal ones.

    At a part t of the training a class has the share (1 - t') n_k / n + t' / classes, with
    t' = min(1, t / full_from); `full_from` 0 is balanced from the first pass on.

    Args:
        config: `full_from`, the part of the training from which shares are equal.

    Source:
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition (2020),
        section 4.1: class-balanced sampling, and equation 2: progressively balanced sampling.

    Example:
        >>> labels = np.array([0] * 6 + [1] * 2)
        >>> sampler = Balanced(Balanced.Config())
        >>> passed = sampler.order(labels, 2, 0.0, np.random.default_rng(0))
        >>> np.bincount(labels[passed]).tolist()
        [4, 4]
    """

    class Config(BaseConfig):
        """Options of the sampler."""

        full_from: float = Field(default=0.0, ge=0, le=1)

    tasks: ClassVar[tuple[Task, ...]] = ("single-label", "ordinal")
    balances: ClassVar[bool] = True

    def __init__(self, config: Balanced.Config) -> None:
        self.config = config

    def order(
        self,
        labels: NDArray[np.int64],
        classes: int,
        progress: float,
        random: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Return (n,) picture numbers; classes that have pictures share the pass."""
        own = np.bincount(labels, minlength=classes) / len(labels)
        equal = (own > 0) / np.count_nonzero(own)
        part = min(1.0, progress / self.config.full_from) if self.config.full_from else 1.0
        return pass_with_shares(labels, (1 - part) * own + part * equal, random)
