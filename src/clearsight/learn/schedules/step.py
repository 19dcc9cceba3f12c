"""A rate that drops by a factor at given points."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clearsight.core.config import Config as BaseConfig


class Step:
    """Stays at the peak and is multiplied by `factor` at each point of `at`.

    Args:
        config: its options.

    Source:
        He et al., Deep Residual Learning (2016), section 4.2 (divided by 10 at half and three
        quarters of the training).

    Example:
        >>> schedule = Step(Step.Config())
        >>> schedule(0.4), schedule(0.5), round(schedule(0.8), 4)
        (1.0, 0.1, 0.01)
    """

    class Config(BaseConfig):
        """Options of the schedule.

        Args:
            at: points of the training, each in (0, 1).
            factor: what the rate is multiplied by at each of them.
        """

        at: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
            default=(0.5, 0.75), min_length=1
        )
        factor: float = Field(default=0.1, ge=0, lt=1)

    def __init__(self, config: Step.Config) -> None:
        self.config = config

    def __call__(self, progress: float) -> float:
        """Return the learning rate in parts of its peak."""
        passed = sum(progress >= point for point in self.config.at)
        return float(self.config.factor**passed)
