"""How many steps a training takes: decided by epochs or by the clock, every decision journaled."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from pydantic import Field

from clearsight.core.config import Config
from clearsight.core.errors import ClearsightError
from clearsight.core.files import read_json, write_json


class Decision(Config):
    """From `step` on, the run is meant to end after `total` steps.

    Args:
        step: steps done when it was decided.
        total: steps of the whole run.
        reason: why, for the journal.
    """

    step: int = Field(ge=0)
    total: int = Field(ge=0)
    reason: str


class Plan:
    """The journal of decisions; the schedule is a pure function of (step, journal).

    Args:
        path: the journal's file; decisions found there are replayed.
        identity: what the journal belongs to; a journal of something else is not used.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._path, self._identity = path, identity
        self.decisions: list[Decision] = []
        self.attempt = 0
        if path.exists():
            self._read()

    @property
    def total(self) -> int:
        """Steps of the whole run as decided last."""
        return self.decisions[-1].total

    def decide(self, step: int, total: int, reason: str) -> None:
        """Journal a decision before the first step that it touches."""
        self.decisions.append(Decision(step=step, total=max(total, step), reason=reason))
        self._write()

    def restart(self) -> None:
        """Journal that the run begins again (after divergence)."""
        self.attempt += 1
        self.decisions = []
        self._write()

    def has(self, reason: str) -> bool:
        """Whether a decision was made for this reason."""
        return any(decision.reason == reason for decision in self.decisions)

    @property
    def decided_until(self) -> int:
        """Step of the newest decision; before it a resumed run only replays."""
        return self.decisions[-1].step

    def progress(self, step: int) -> float:
        """Return how far the schedule is before `step`, in [0, 1]; continuous over re-plans."""
        done = 0.0
        past = [d for d in self.decisions if d.step <= step]
        for before, after in pairwise(past):
            done += (1 - done) * _fraction(before, after.step)
        return min(1.0, done + (1 - done) * _fraction(past[-1], step)) if past else 0.0

    def _read(self) -> None:
        try:
            values = read_json(self._path)
            if values["identity"] == self._identity:
                self.decisions = [Decision.parse(entry) for entry in values["decisions"]]
                self.attempt = int(values["attempt"])
        except (ClearsightError, KeyError, TypeError, ValueError):
            self.decisions, self.attempt = [], 0

    def _write(self) -> None:
        write_json(
            self._path,
            {
                "identity": self._identity,
                "attempt": self.attempt,
                "decisions": [decision.model_dump() for decision in self.decisions],
            },
        )


def one_cycle(progress: float, warmup: float) -> float:
    """Return the learning-rate factor: up linearly over `warmup`, then down linearly to zero.

    Source:
        Smith and Topin, Super-Convergence (2018); linear form.

    Example:
        >>> one_cycle(0.1, 0.2), one_cycle(0.2, 0.2), one_cycle(1.0, 0.2)
        (0.5, 1.0, 0.0)
    """
    if progress < warmup:
        return progress / warmup
    return max(0.0, (1 - progress) / (1 - warmup))


def _fraction(decision: Decision, step: int) -> float:
    length = decision.total - decision.step
    return min(1.0, (step - decision.step) / length) if length > 0 else 1.0
