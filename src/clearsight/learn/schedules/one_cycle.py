"""One cycle: up linearly, then down linearly to zero."""

from __future__ import annotations

from pydantic import Field

from clearsight.core.config import Config as BaseConfig


class OneCycle:
    """Rises to the peak over `warmup`, then falls to zero at the end.

    Args:
        config: its options.

    Source:
        Smith and Topin, Super-Convergence (2018); linear form.

    Example:
        >>> schedule = OneCycle(OneCycle.Config(warmup=0.2))
        >>> schedule(0.1), schedule(0.2), schedule(1.0)
        (0.5, 1.0, 0.0)
    """

    class Config(BaseConfig):
        """Options of the schedule.

        Args:
            warmup: part of the training in which the rate rises.
        """

        warmup: float = Field(default=0.2, ge=0, lt=1)

    def __init__(self, config: OneCycle.Config) -> None:
        self.config = config

    def __call__(self, progress: float) -> float:
        """Return the learning rate in parts of its peak."""
        warmup = self.config.warmup
        if progress < warmup:
            return progress / warmup
        return max(0.0, (1 - progress) / (1 - warmup))
