"""Exponential moving average of the weights."""

from __future__ import annotations

from pydantic import Field

from clearsight.core.config import Config as BaseConfig


class Ema:
    """mean <- d mean + (1 - d) weights, where d = min(decay, (taken) / (9 + taken)) at first.

    The smaller d at first lets the mean leave the initial weights behind.

    Args:
        config: its options.

    Source:
        Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging (1992); the
        warm-up is TensorFlow's ExponentialMovingAverage with num_updates.

    Example:
        >>> ema = Ema(Ema.Config(decay=0.99))
        >>> ema.share(0, 0.0), round(ema.share(1, 0.1), 3), round(ema.share(10_000, 0.9), 3)
        (1.0, 0.9, 0.01)
    """

    class Config(BaseConfig):
        """Options of the averaging.

        Args:
            decay: share of the old mean in the new one; the mean reaches back about
                1 / (1 - decay) steps.
        """

        decay: float = Field(default=0.998, gt=0, lt=1)

    def __init__(self, config: Ema.Config) -> None:
        self.config = config

    def share(self, taken: int, progress: float) -> float | None:
        """Return the newest weights' share of the new mean."""
        return 1 - min(self.config.decay, taken / (9 + taken))
