"""The race of `--model auto`: quick candidates first, those that gain from time get what is left.

What is said of a candidate is remembered in `work/race`, so a killed race goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from clearsight.core.errors import ClearsightError, DataError, InterruptedRun, StorageError
from clearsight.core.files import read_json, write_json
from clearsight.learn.choose import Candidate
from clearsight.learn.contest import Contest, Trained
from clearsight.learn.family import Budget
from clearsight.learn.inputs import cut
from clearsight.learn.search.ensemble import ensemble
from clearsight.learn.search.kept import found, keep
from clearsight.learn.search.loading import Loading, loading_torch
from clearsight.learn.search.verdict import Merits, drop_worse, merits

TRIAL_PER_CLASS, TRIAL_GROWTH = 20, 4
"""A trial takes so many pictures of each class, then so many times more."""
TRIED_FROM = 16
"""With fewer than so many times a trial's pictures, trials cost as much as they may save."""
TRIAL_VAL = 200
SURE, AGAIN = 2.0, 2.0
"""Standard errors that make a trial's accuracy sure; times its seconds for another like it."""
HEAT_SHARE = 1 / 6
"""Part of the time left that each takes in a heat, where two or more gain from time."""
PROBE = "probe"
FEW = 5000
"""Training pictures; from fewer, no network from scratch learns more than designed features tell
where the probe is surely better than these."""
BACKWARD = 3.0
"""A training step costs at least so many forward passes: the backward one costs two."""


@dataclass(frozen=True)
class Entry:
    """What became of one candidate, for the story.

    Args:
        name: of the candidate, with what is special about it.
        state: "finished", "heat", "dropped" or "failed".
        reason: why it was dropped, or failed, or entered.
        accuracy: on validation; None when it was not trained.
        seconds: it took.
    """

    name: str
    state: str
    reason: str
    accuracy: float | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "name": self.name,
            "state": self.state,
            "reason": self.reason,
            "accuracy": self.accuracy,
            "seconds": round(self.seconds, 2),
        }


@dataclass
class Race:
    """One race on one contest's ground.

    Args:
        contest: the ground.
        end: `time.monotonic()` by which everybody must have finished, or None.
    """

    contest: Contest
    end: float | None
    entries: list[Entry] = field(default_factory=list)
    finished: list[Trained] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._folder = self.contest.work / "race"
        self._notes = _Notes(self._folder / "notes.json")
        self._load_s = 0.0

    def run(self, candidates: Sequence[Candidate]) -> Trained:
        """Train who is worth it and return who validates best.

        Raises:
            ClearsightError: nobody finished; the last failure.
        """
        if len(candidates) == 1:
            budget = self._until(1.0, candidates[0])
            return self.contest.train(candidates[0], budget, _folder(0, candidates[0]))
        loading = loading_torch(candidates)
        numbered = list(enumerate(candidates))
        too_slow = False
        for number, one in numbered:
            if one.key == "classical" and not too_slow:
                began = time.monotonic()
                too_slow = not self._fits(number, one)
                if not too_slow:
                    self._finish(number, one)
                    too_slow = time.monotonic() - began > one.share_of_time * self._whole_s
            elif one.key == "classical":
                self._drop(one, "a quicker one of its kind took all the time for both")
        self._wait_for(loading)
        for number, one in numbered:
            if one.key != "classical" and not one.grows and self._time_for(one):
                self._finish(number, one)
        growing = [(n, one) for n, one in numbered if one.grows and self._time_for(one)]
        self._train_growing([(n, one) for n, one in growing if self._one_pass_fits(n, one)])
        self._think_again(numbered)
        best = max(self.finished, key=lambda trained: trained.rank, default=None)
        if best is None:
            raise self._failure
        self.contest.progress.say(f"Chose {title(best.candidate)}", reason="best on validation")
        return self._joined(best)

    def _joined(self, best: Trained) -> Trained:
        """Return the best one, or an ensemble with it where the settings and validation say so."""
        most = self.contest.settings.ensemble_cost
        others = [each for each in self.finished if each is not best]
        joined = ensemble(best, others, self.contest, most) if most > 1 else None
        if joined is None:
            return best
        self.contest.progress.say("Joined an ensemble", reason=joined.candidate.reason)
        return joined

    def told(self) -> dict[str, Any]:
        """Return what became of everybody, for the story; empty when there was no race."""
        return {"race": [entry.to_json() for entry in self.entries]} if self.entries else {}

    def _train_growing(self, growing: list[tuple[int, Candidate]]) -> None:
        """Let those that gain from time run a heat, then give the best of them all that is left."""
        if len(growing) > 1 and self.end is not None:
            growing = self._worth_a_heat(growing)
        if len(growing) > 1 and self.end is not None:
            growing = self._heat(growing)
        for number, one in growing:
            self._finish(number, one, last=one is growing[-1][1])

    def _worth_a_heat(self, growing: list[tuple[int, Candidate]]) -> list[tuple[int, Candidate]]:
        """Leave networks from scratch out where few pictures cannot teach them enough."""
        tuned = [(number, one) for number, one in growing if one.key == "timm"]
        designed = {n: t for n, t in enumerate(self.finished) if t.candidate.key == "classical"}
        if not tuned or len(self.contest.parts["train"]) >= FEW or not self._behind(designed):
            return growing
        for _, one in growing:
            if one.key != "timm":
                self._drop(one, "few pictures, and the probe is surely ahead of designed features")
        return tuned

    def _heat(self, growing: list[tuple[int, Candidate]]) -> list[tuple[int, Candidate]]:
        """Train each for a short while, and return the one that goes on.

        A backbone to be tuned comes last, and needs no heat where everybody else is surely behind
        the same kind of backbone left as it is: tuning starts there.
        """
        heats: dict[int, Trained] = {}
        left_s = self._left_s()
        for number, one in sorted(growing, key=lambda pair: pair[1].key == "timm"):
            behind = self._behind(heats) if one.key == "timm" else {}
            if behind:
                self._drop_behind(heats, behind, "behind the probe after a heat")
                return [(number, one)]
            deadline = time.monotonic() + HEAT_SHARE * left_s
            trained = self._attempt(number, one, Budget(deadline=deadline), "heat")
            if trained is not None:
                heats[number] = trained
        if not heats:
            return []
        behind = drop_worse(merits_of(heats))
        self._drop_behind(heats, behind, "behind after a heat")
        best = max(heats, key=lambda number: heats[number].rank)
        for number in heats:
            if number != best and number not in behind:
                self._drop(heats[number].candidate, "not ahead after a heat; the time goes to one")
        return [(best, heats[best].candidate)]

    def _drop_behind(self, heats: dict[int, Trained], behind: dict[Any, float], what: str) -> None:
        for number, points in behind.items():
            reason = f"{100 * points:.1f} points {what}, more than chance"
            self._drop(heats[number].candidate, reason)

    def _behind(self, others: dict[int, Trained]) -> dict[Any, float]:
        """Return points behind the probe if it is surely better than all others, else nothing."""
        probe = self._probe
        if probe is None or not others:
            return {}
        behind = drop_worse(merits_of({**others, PROBE: probe}))
        return behind if set(behind) == set(others) else {}

    @property
    def _probe(self) -> Trained | None:
        probes = [trained for trained in self.finished if trained.candidate.key == PROBE]
        return max(probes, key=lambda trained: trained.rank, default=None)

    def _finish(self, number: int, one: Candidate, last: bool = False) -> None:
        self._attempt(
            number, one, self._until(one.share_of_time, one), "finished", keeping=not last
        )

    def _attempt(
        self, number: int, one: Candidate, budget: Budget, state: str, keeping: bool = True
    ) -> Trained | None:
        """Train one candidate, or find it trained; a failure costs the candidate, not the race."""
        name, say = f"{_folder(number, one)}-{state}", self.contest.progress.say
        place = self._folder / name
        try:
            if (place / "facts.json").is_file():
                trained = found(place, one, self.contest)
            else:
                say(f"Training {title(one)}", reason=one.reason)
                trained = self.contest.train(one, budget, f"race/{name}-work")
                if keeping:
                    trained = keep(place, trained, self.contest)
        except (InterruptedRun, DataError, StorageError):
            raise
        except ClearsightError as error:
            self._failure = error
            self.entries.append(Entry(title(one), "failed", str(error)))
            say(f"{title(one)} failed", reason=error)
            return None
        self.finished.append(trained)
        accuracy = trained.figures["accuracy"]
        self.entries.append(Entry(title(one), state, one.reason, accuracy, trained.seconds))
        say(f"{title(one)}: validation accuracy {accuracy:.4f}", seconds=f"{trained.seconds:.1f}")
        return trained

    def _fits(self, number: int, one: Candidate) -> bool:
        """Whether training on every picture fits the candidate's share, by small trials."""
        share_s = one.share_of_time * self._whole_s
        small = TRIAL_PER_CLASS * len(self.contest.facts.classes)
        n = len(self.contest.parts["train"])
        if self.end is None or n <= TRIED_FROM * small:
            return True
        name = f"{_folder(number, one)}-trial"
        if name not in self._notes:
            self._notes[name] = self._forecast_s(one, small, n, name, share_s)
        if self._notes[name] <= share_s:
            return True
        self._drop(
            one,
            f"all {n} pictures would take at least {self._notes[name]:.0f} s of the "
            f"{share_s:.0f} s it may take, by trials on a few",
        )
        return False

    def _forecast_s(self, one: Candidate, small: int, n: int, name: str, share_s: float) -> float:
        """Return about how long training on `n` pictures would take.

        One trial tells what features alone take; where that fits, a larger one what is added by
        more pictures.
        """
        first, first_s = self._trial(one, small, f"{name}-{small}")
        accuracy, n_val = first.figures["accuracy"], len(first.val.labels)
        error = (accuracy * (1 - accuracy) / n_val) ** 0.5
        self._notes[f"{name}-accuracy"] = max(0.0, accuracy - SURE * error)
        self._notes[f"{name}-seconds"] = first_s
        story = first.fitted.story
        features_s = story.get("features_s", 0.0) * n / (small + n_val)
        if features_s > share_s:
            return float(features_s)
        large = TRIAL_GROWTH * small
        _, second_s = self._trial(one, large, f"{name}-{large}")
        return second_s + max(0.0, second_s - first_s) / (large - small) * (n - large)

    def _think_again(self, numbered: list[tuple[int, Candidate]]) -> None:
        """Train a quick one after all where everybody ended surely below its small trial.

        Then the time was too short for a network; what a trial took is known, so is the delay.
        """
        for number, one in numbered:
            name = f"{_folder(number, one)}-trial"
            surely = self._notes.get(f"{name}-accuracy", 0.0)
            if surely and all(t.figures["accuracy"] < surely for t in self.finished):
                seconds = AGAIN * self._notes[f"{name}-seconds"]
                self.contest.progress.say(f"{title(one)} is trained after all", seconds=seconds)
                self._attempt(number, one, Budget(deadline=time.monotonic() + seconds), "finished")

    def _trial(self, one: Candidate, size: int, name: str) -> tuple[Trained, float]:
        """Train on `size` pictures; return that and the seconds it took."""
        sizes = {"train": size, "val": TRIAL_VAL}
        parts = cut(self.contest.parts, sizes, self.contest.settings.seed)
        ground = replace(self.contest, parts=parts)
        began = time.monotonic()
        trained = ground.train(one, self._until(one.share_of_time, one), f"race/{name}")
        return trained, time.monotonic() - began

    def _one_pass_fits(self, number: int, one: Candidate) -> bool:
        """Whether a backbone of which the forward rate is known can see every picture once."""
        probe = self._probe
        if one.key != "timm" or probe is None or self.end is None:
            return True
        story = probe.fitted.story
        name = f"{_folder(number, one)}-pass"
        if name not in self._notes:
            forward_s = story["features_s"] / max(1, story["features_computed"])
            pass_s = BACKWARD * forward_s * len(self.contest.parts["train"])
            self._notes[name] = self._left_s() / max(1e-9, pass_s)
        if self._notes[name] >= 1:
            return True
        self._drop(one, "not even one pass over the pictures fits, by the rate of the probe")
        return False

    def _time_for(self, one: Candidate) -> bool:
        """Whether there is time left to begin; torch's own start tells what a start takes."""
        if self._left_s() > self._load_s or not self.finished:
            return True
        self._drop(one, f"{max(0.0, self._left_s()):.0f} s are too few to begin")
        return False

    def _wait_for(self, loading: Loading | None) -> None:
        if loading is not None:
            loading.join(None if not self.finished else max(0.0, self._left_s()))
            self._load_s = loading.seconds

    def _drop(self, one: Candidate, reason: str) -> None:
        self.entries.append(Entry(title(one), "dropped", reason))
        self.contest.progress.say(f"{title(one)} leaves the race", reason=reason)

    @property
    def _whole_s(self) -> float:
        return self.contest.settings.time_s or float("inf")

    def _left_s(self) -> float:
        return float("inf") if self.end is None else self.end - time.monotonic()

    def _until(self, share: float, one: Candidate) -> Budget:
        epochs = self.contest.settings.epochs
        if self.end is None:
            return Budget(epochs=epochs)
        whole = time.monotonic() + share * self._whole_s
        return Budget(deadline=min(self.end, whole), epochs=epochs)


class _Notes(dict[str, float]):
    """Measurements that decide who leaves; written down before anything follows from them."""

    def __init__(self, path: Path) -> None:
        super().__init__(read_json(path) if path.is_file() else {})
        self._path = path

    def __setitem__(self, name: str, value: float) -> None:
        super().__setitem__(name, value)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, dict(self))


def title(one: Candidate) -> str:
    """Return a candidate's name with what tells it from others of its family.

    Example:
        >>> title(Candidate("classical", {"features": ["hog", "sift"], "head": "rbf-svm"}))
        'classical (hog+sift, rbf-svm)'
    """
    told = ["+".join(v) if isinstance(v, list) else str(v) for v in one.config.values()]
    return f"{one.key} ({', '.join(told)})" if told else one.key


def _folder(number: int, one: Candidate) -> str:
    return f"{number}-{one.key}"


def merits_of(trained: Mapping[Any, Trained]) -> dict[Any, Merits]:
    """Return the merits of recognizers on the validation pictures that all were scored on."""
    shared = reduce(np.intersect1d, (each.val.kept for each in trained.values()))
    found = {}
    for name, each in trained.items():
        rows = np.flatnonzero(np.isin(each.val.kept, shared))
        found[name] = merits(each.val_logits[rows], each.val.labels[rows], each.balanced)
    return found
