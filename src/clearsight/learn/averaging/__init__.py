"""Means over the weights of past steps; a file added here is one added."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from clearsight.core.config import Config
from clearsight.core.registry import Registry

AVERAGES = Registry("clearsight.learn.averaging", "averaging", extra="train")
NONE = "none"


class Averaging(Protocol):
    """What a file in this folder defines: how far the mean moves after each step.

    The trainer keeps the mean, scores it on validation in the place of the last weights (with
    batch-norm statistics estimated anew for it), and returns it.
    """

    Config: ClassVar[type[Config]]

    def __init__(self, config: Any) -> None:
        """Take the averaging's own options."""

    def share(self, taken: int, progress: float) -> float | None:
        """Return the newest weights' share of the new mean, in (0, 1]; None to leave them out.

        Args:
            taken: how many weights are in the mean so far; for the first the share must be 1.
            progress: part of the training that is done, in [0, 1].
        """
