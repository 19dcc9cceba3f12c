"""Half a cosine from the peak to a floor, after a linear warm-up."""

from __future__ import annotations

import math

from pydantic import Field

from clearsight.core.config import Config as BaseConfig


class Cosine:
    """Rises linearly over `warmup`, then falls to `floor` along half a cosine.

    Args:
        config: its options.

    Source:
        Loshchilov and Hutter, SGDR (2017), equation 5, without restarts; warm-up: Goyal et al.,
        Accurate, Large Minibatch SGD (2017), section 2.2.

    Example:
        >>> schedule = Cosine(Cosine.Config(warmup=0.1))
        >>> schedule(0.05), schedule(0.1), round(schedule(0.55), 3), schedule(1.0)
        (0.5, 1.0, 0.5, 0.0)
    """

    class Config(BaseConfig):
        """Options of the schedule.

        Args:
            warmup: part of the training in which the rate rises.
            floor: where it ends, in parts of the peak.
        """

        warmup: float = Field(default=0.05, ge=0, lt=1)
        floor: float = Field(default=0.0, ge=0, le=1)

    def __init__(self, config: Cosine.Config) -> None:
        self.config = config

    def __call__(self, progress: float) -> float:
        """Return the learning rate in parts of its peak."""
        warmup, floor = self.config.warmup, self.config.floor
        if progress < warmup:
            return progress / warmup
        done = min(1.0, (progress - warmup) / (1 - warmup))
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2
