"""The plain mean of the weights over the last part of the training."""

from __future__ import annotations

from pydantic import Field

from clearsight.core.config import Config as BaseConfig


class Swa:
    """From `start` on, every step's weights count alike.

    Args:
        config: its options.

    Source:
        Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization (2018),
        algorithm 1, with a cycle of one step.

    Example:
        >>> swa = Swa(Swa.Config(start=0.75))
        >>> swa.share(0, 0.7), swa.share(0, 0.75), swa.share(3, 0.8)
        (None, 1.0, 0.25)
    """

    class Config(BaseConfig):
        """Options of the averaging.

        Args:
            start: part of the training after which weights count.
        """

        start: float = Field(default=0.75, ge=0, lt=1)

    def __init__(self, config: Swa.Config) -> None:
        self.config = config

    def share(self, taken: int, progress: float) -> float | None:
        """Return the newest weights' share of the new mean."""
        return 1 / (taken + 1) if progress >= self.config.start else None
