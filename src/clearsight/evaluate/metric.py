"""What a metric is: a function of scored pictures that knows its range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clearsight.core.nouns import TASKS, Task
from clearsight.evaluate.scored import Scored

Interval = Callable[[Scored], tuple[float, float]]


@dataclass(frozen=True)
class Metric:
    """A figure of merit.

    Args:
        compute: the figure from scored pictures.
        title: how people call it.
        lowest, highest: its range.
        best: what a perfect and certain recognizer gets, one end of the range.
        interval: its own 95 % interval; None takes the bootstrap.
        tasks: the kinds of label for which it says something.
    """

    compute: Callable[[Scored], float]
    title: str
    lowest: float
    highest: float
    best: float
    interval: Interval | None = None
    tasks: tuple[Task, ...] = TASKS

    def __call__(self, scored: Scored) -> float:
        """Return the figure."""
        return self.compute(scored)


def metric(
    title: str,
    *,
    lowest: float = 0.0,
    highest: float = 1.0,
    best: float = 1.0,
    interval: Interval | None = None,
    tasks: tuple[Task, ...] = TASKS,
) -> Callable[[Callable[[Scored], float]], Metric]:
    """Return a decorator that makes a function a `Metric`; the arguments are Metric's."""

    def decorate(compute: Callable[[Scored], float]) -> Metric:
        return Metric(compute, title, lowest, highest, best, interval, tasks)

    return decorate
