"""The same rate throughout."""

from __future__ import annotations

from clearsight.core.config import Config as BaseConfig


class Constant:
    """The peak from the first step to the last.

    Args:
        config: it has no options.

    Example:
        >>> Constant(Constant.Config())(0.3)
        1.0
    """

    class Config(BaseConfig):
        """It has no options."""

    def __init__(self, config: Constant.Config) -> None:
        self.config = config

    def __call__(self, progress: float) -> float:
        """Return 1."""
        return 1.0
