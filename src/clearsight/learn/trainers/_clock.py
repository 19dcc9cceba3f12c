"""Times steps, plans a run by its deadline, and says when a checkpoint is due."""

from __future__ import annotations

import time
from collections.abc import Callable

from clearsight.learn.family import Budget
from clearsight.learn.trainers._plan import Plan

WARM_UP_STEPS = 3  # not timed: the first steps allocate
TIMED_STEPS = 8
HURRY = 0.05  # part of the budget after which the first plan is made on fewer steps
TOO_LONG = 0.15  # part of the budget after which fewer steps are believed
DRIFT = 0.03  # of the steps left; less is not worth a new plan
CHECKPOINT_S = 10.0
CHECKPOINT_COST = 0.02  # most of the time that checkpoints may take


class Clock:
    """The clock of one run.

    Args:
        budget: gives the deadline, if there is one.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._starts: list[float] = []
        self._last_write = self._reported = time.monotonic()
        self._interval_s = CHECKPOINT_S
        self._next_check = 0
        self._following = False
        self._whole_s = float("inf")

    def follow(self) -> None:
        """Keep to the journal of an interrupted run, unless the deadline would be missed."""
        self._following = True

    def tick(self, step: int) -> None:
        """Note that `step` begins."""
        if not self._starts:
            self._next_check = step + WARM_UP_STEPS + TIMED_STEPS
            self._whole_s = self._budget.remaining_s()
        self._starts.append(time.monotonic())

    @property
    def timed(self) -> bool:
        """Whether enough steps were seen to trust `step_s`, or they take too long to wait for."""
        return len(self._starts) > WARM_UP_STEPS + 1 or self._taken(TOO_LONG)

    def _taken(self, share: float) -> bool:
        """Whether such a part of what was left at the first step is gone."""
        return bool(self._starts) and time.monotonic() - self._starts[0] > share * self._whole_s

    def step_s(self) -> float:
        """Return the mean seconds a step takes now, everything included."""
        usable = self._starts[min(WARM_UP_STEPS, len(self._starts) - 1) :]
        recent = usable[-max(TIMED_STEPS, len(usable) // 3) :]
        return (time.monotonic() - recent[0]) / len(recent)

    def plan(self, step: int, plan: Plan, longest: int, finishing_s: float) -> None:
        """Decide the number of steps by the clock: first after a few steps, then on drift.

        Args:
            step: steps done.
            plan: where decisions are journaled.
            longest: most steps wanted.
            finishing_s: time to keep for what comes after the last step.
        """
        left_s = self._budget.remaining_s() - finishing_s
        if left_s <= 0 and step < plan.total:
            plan.decide(step, step, "deadline")
            return
        first = len(plan.decisions) == 1
        due = step >= max(self._next_check, plan.decided_until) or (first and self._taken(HURRY))
        if not due or step >= plan.total:
            return
        total = min(longest, step + max(1, int(left_s / self.step_s())))
        if self._following or plan.has("plateau"):
            total = min(total, plan.total)
        if first or abs(total - plan.total) > DRIFT * (plan.total - step):
            plan.decide(step, total, "measured step time")
        self._next_check = step + max(3, (plan.total - step) // 8)

    def extent(self, steps: int) -> tuple[float, str]:
        """Return (total, unit) for the progress bar: seconds under a deadline, else steps."""
        if self._budget.deadline is not None:
            return max(0.0, self._budget.remaining_s()), "s"
        return float(steps), "steps"

    def advance(self) -> float:
        """Return what one more step is, in the unit of `extent`."""
        now = time.monotonic()
        passed, self._reported = now - self._reported, now
        return passed if self._budget.deadline is not None else 1.0

    def checkpoint_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._last_write > self._interval_s

    def write_checkpoint(self, write: Callable[[], None]) -> None:
        """Write one, note what it cost, and keep their share of the time small."""
        started = time.monotonic()
        write()
        self._last_write = time.monotonic()
        self._interval_s = max(CHECKPOINT_S, (self._last_write - started) / CHECKPOINT_COST)
