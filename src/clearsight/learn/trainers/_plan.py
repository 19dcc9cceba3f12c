"""How many steps a training takes: decided by epochs or by the clock, every decision journaled."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

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


class Change(Config):
    """From `step` on, something is done otherwise than asked for.

    Args:
        step: steps done when it was decided.
        kind: "split" halves the pictures that are in memory at once; "slower" halves the rate;
            "sample" validates on fewer pictures.
        pictures: how many, of "sample".
    """

    step: int = Field(ge=0)
    kind: Literal["split", "slower", "sample"]
    pictures: int | None = Field(default=None, ge=1)


class Plan:
    """The journal of decisions; the schedule is a pure function of (step, journal).

    Args:
        path: the journal's file; decisions found there are replayed.
        identity: what the journal belongs to; a journal of something else is not used.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._path, self._identity = path, identity
        self.decisions: list[Decision] = []
        self.changes: list[Change] = []
        self.attempt = 0
        self.stopped = False
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
        """Journal that the run begins again (after divergence) at half the learning rate."""
        self.attempt += 1
        self.decisions, self.stopped = [], False
        splits = [change for change in self.changes if change.kind == "split"]
        samples = [change for change in self.changes if change.kind == "sample"]
        self.changes = [Change(step=0, kind="split") for _ in splits] + samples
        self._write()

    def change(
        self, step: int, kind: Literal["split", "slower", "sample"], pictures: int | None = None
    ) -> None:
        """Journal a change before the first step that it touches."""
        self.changes.append(Change(step=step, kind=kind, pictures=pictures))
        self.stopped = False
        self._write()

    def stop(self) -> None:
        """Journal that the run gave up; a resumed one goes on at half the rate."""
        self.stopped = True
        self._write()

    def splits(self, step: int) -> int:
        """Return into how many parts memory has forced the batch of a step, a power of two."""
        return 1 << self._count("split", step)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step in parts of what was asked for."""
        return 0.5 ** (self.attempt + self._count("slower", step))

    @property
    def sample(self) -> int | None:
        """How many validation pictures there is time for; None for the usual number."""
        return next((each.pictures for each in self.changes if each.kind == "sample"), None)

    def _count(self, kind: str, step: int) -> int:
        return sum(change.kind == kind and change.step <= step for change in self.changes)

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
                self.changes = [Change.parse(entry) for entry in values["changes"]]
                self.attempt = int(values["attempt"])
                self.stopped = bool(values["stopped"])
        except (ClearsightError, KeyError, TypeError, ValueError):
            self.decisions, self.changes, self.attempt, self.stopped = [], [], 0, False

    def _write(self) -> None:
        write_json(
            self._path,
            {
                "identity": self._identity,
                "attempt": self.attempt,
                "stopped": self.stopped,
                "changes": [change.model_dump() for change in self.changes],
                "decisions": [decision.model_dump() for decision in self.decisions],
            },
        )


def _fraction(decision: Decision, step: int) -> float:
    length = decision.total - decision.step
    return min(1.0, (step - decision.step) / length) if length > 0 else 1.0
