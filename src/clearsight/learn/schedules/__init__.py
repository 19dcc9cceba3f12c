"""Learning-rate schedules; a file added here is a schedule added."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from clearsight.core.config import Config
from clearsight.core.registry import Registry

SCHEDULES = Registry("clearsight.learn.schedules", "schedule", extra="train")


class Schedule(Protocol):
    """What a file in this folder defines: a pure function of how far the training is."""

    Config: ClassVar[type[Config]]

    def __init__(self, config: Any) -> None:
        """Take the schedule's own options."""

    def __call__(self, progress: float) -> float:
        """Return the learning rate in parts of its peak, in [0, 1].

        Args:
            progress: part of the training that is done, in [0, 1]; under a time limit it is
                planned anew as steps are timed, and stays continuous.
        """
