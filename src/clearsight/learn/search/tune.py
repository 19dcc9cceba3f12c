"""`clearsight tune`: a study of settings on one split, then the best of them as a full run."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clearsight.core.errors import ClearsightError, DataError, InterruptedRun, StorageError
from clearsight.core.files import storage_errors, write_json
from clearsight.core.progress import Progress, Silent
from clearsight.data.dataset import Dataset
from clearsight.learn.contest import Contest, Seams, Trained, named
from clearsight.learn.family import Budget
from clearsight.learn.inputs import cut, find_facts
from clearsight.learn.run_folder import RunFolder, RunRecord
from clearsight.learn.search.kept import found, keep
from clearsight.learn.search.space import derive_space
from clearsight.learn.search.study import Pruned, Study, Told, Trial
from clearsight.learn.search.study_folder import (
    SEARCH_SHARE,
    TRIALS,
    StudyRecord,
    alone,
    begin_study,
    check_same_settings,
    open_study,
    parts_of,
    same_data,
    trial_s,
)
from clearsight.learn.settings import TrainSettings
from clearsight.learn.train import TrainResult, conclude, end_of_race

HOPELESS_TRIALS = 3
"""So many failures without one success end a study."""


@dataclass(frozen=True)
class TuneResult:
    """What a study left behind.

    Args:
        study: the STUDY folder.
        run: the RUN of the best settings, below it.
        outcome: JSON-ready: `study, run, family, seconds, evaluate, best, trials, importances,
            space`.
    """

    study: Path
    run: Path
    outcome: dict[str, Any]


def tune(
    data: Path,
    out: Path,
    settings: TrainSettings | None,
    seams: Seams,
    progress: Progress,
    models: Sequence[str] = (),
    trials: int | None = None,
    started: float | None = None,
    resume: bool = False,
) -> TuneResult:
    """Search for the best settings, and write STUDY with the best recognizer in it.

    Args:
        data: the data set.
        out: the STUDY folder; must be new or empty unless `resume`.
        settings: what all trials share; what it decides is not searched. None takes the defaults,
            or those of the study that is resumed.
        seams: the rooms beside this one.
        progress: where to report.
        models: what to search over, as `--model` names them; none takes those that `auto` knows.
        trials: how many; None lets the time decide.
        started: `time.monotonic()` of the start of the command; the time budget counts from it.
        resume: continue the study in `out` with the settings it began with.

    Raises:
        DataError: the data set cannot be used, or is not the one the study began with.
        UsageError: `out` is in use, or an option is wrong.
        StorageError: the study file is damaged.
        InterruptedRun: stopped from outside; `resume` continues.
    """
    started = time.monotonic() if started is None else started
    record = open_study(out, resume)
    if record is None:
        asked = settings or TrainSettings.parse({})
        dataset, record = begin_study(data, asked, models, trials, progress)
    else:
        check_same_settings(record, settings, models, trials)
        dataset = same_data(data, record)
    if record.state == "done":
        return TuneResult(out, out / "best", record.outcome)
    with alone(out):
        return _Tuning(out, record, dataset, seams, progress, started).run()


def plan_study(
    data: Path, settings: TrainSettings, models: Sequence[str], trials: int | None
) -> dict[str, Any]:
    """Return what `tune` would search, without writing anything."""
    dataset, record = begin_study(data, settings, models, trials, Silent())
    facts = find_facts(cut(parts_of(dataset), record.pictures, settings.seed), settings)
    return {
        "models": list(record.models),
        "trial_seconds": trial_s(record),
        "trials": record.trials,
        "space": derive_space(record.models, settings, facts).to_json(),
        "settings": settings.model_dump(mode="json"),
    }


class _Tuning:
    """One run of `tune`."""

    def __init__(
        self,
        out: Path,
        record: StudyRecord,
        dataset: Dataset,
        seams: Seams,
        progress: Progress,
        started: float,
    ) -> None:
        self.out, self.record, self.dataset = out, record, dataset
        self.progress, self.started = progress, started
        settings = record.settings
        parts = cut(parts_of(dataset), record.pictures, settings.seed)
        facts = find_facts(parts, settings)
        self.space = derive_space(record.models, settings, facts)
        facts = replace(facts, time_s=trial_s(record))
        self.ground = Contest(parts, facts, settings, seams, out / "work", progress)
        self.study = self._study()
        self.end = end_of_race(settings, started)
        self.search_end = None
        if settings.time_s is not None:
            self.search_end = started + SEARCH_SHARE * settings.time_s

    def _study(self) -> Study:
        record = self.record
        with storage_errors(self.out):
            (self.out / "work").mkdir(parents=True, exist_ok=True)
        write_json(self.out / "study.json", record.model_dump(mode="json"))
        told = json.dumps([record.settings.model_dump(mode="json"), self.space.to_json()])
        identity = {
            "data": record.fingerprint,
            "settings": hashlib.sha256(told.encode()).hexdigest(),
        }
        study = Study(self.out / "study.sqlite3", self.space, record.settings.seed, identity)
        for number in study.clear_dead():
            self.progress.say(
                f"Trial {number} was cut off when its process ended",
                reason="marked as failed; its settings are tried again",
            )
        return study

    def run(self) -> TuneResult:
        """Search, train the best, and write everything."""
        while self._go_on():
            trial = self.study.ask()
            try:
                self._try(trial)
            except InterruptedRun as error:
                raise InterruptedRun(
                    f"The study stopped during trial {trial.number}; {self.study.ended()} trials "
                    "are on disk. Run the same command with --resume to continue."
                ) from error
        best = self.study.best()
        if best is None:
            raise ClearsightError(
                f"No trial of {self.out} came to its end. Give more --time, or fewer and smaller "
                "models."
            )
        settings = TrainSettings.parse(best.about["settings"])
        write_json(self.out / "best.json", _as_config(settings))
        importances = self.study.importances()
        result = self._conclude(best, settings)
        return self._told(best, settings, result, importances)

    def _go_on(self) -> bool:
        trials = self.study.trials()
        ended = self.study.ended()
        failed = [told for told in trials if "error" in told.about]
        if len(failed) >= HOPELESS_TRIALS and len(failed) == ended:
            raise ClearsightError(
                f"The first {len(failed)} trials failed, the last one with: "
                f"{failed[-1].about['error']}"
            )
        if ended >= (self.record.trials or self._most):
            return False
        return self.search_end is None or time.monotonic() < self.search_end

    @property
    def _most(self) -> float:
        return TRIALS if self.search_end is None else float("inf")

    def _try(self, trial: Trial) -> None:
        """Train one setting; what it is worth is on disk when this returns."""
        began, say = time.monotonic(), self.progress.say
        state, value = "complete", None
        trained: Trained | None = None
        try:
            settings = self.space.settings(self.record.settings, trial.model, trial.values)
            trial.note(model=trial.model, settings=settings.model_dump(mode="json"))
            trained = self._train(settings, trial)
            value = trained.rank[0]
        except Pruned:
            state = "pruned"
        except (InterruptedRun, DataError, StorageError):
            raise
        except ClearsightError as error:
            state = str(error)
        trial.note(seconds=round(time.monotonic() - began, 2))
        if value is not None and trained is not None:
            self._keep(trial, value, trained)
        elif state == "pruned":
            trial.prune()
        else:
            trial.fail(state)
        outcome = state if value is None else f"{value:.4f}"
        say(f"Trial {trial.number} ({trial.model}): {outcome}", **_short(trial.values))

    def _train(self, settings: TrainSettings, trial: Trial) -> Trained:
        limit_s = trial_s(self.record)
        deadline = None
        if limit_s is not None and self.search_end is not None:
            deadline = min(time.monotonic() + limit_s, max(self.search_end, time.monotonic() + 1))
        name = f"trials/{_digest(settings)}"
        ground = replace(self.ground, settings=settings)
        budget = Budget(deadline=deadline, epochs=settings.epochs)
        try:
            candidate = named(settings.model, settings.family)
            trained = ground.train(candidate, budget, name, trial.report)
        except InterruptedRun:
            raise  # its checkpoint is gone on from
        except ClearsightError:
            shutil.rmtree(self.ground.work / name, ignore_errors=True)
            raise
        shutil.rmtree(self.ground.work / name, ignore_errors=True)
        return trained

    def _keep(self, trial: Trial, value: float, trained: Trained) -> None:
        """Put the model of the best trial so far on disk, then what the trial was worth."""
        before = self.study.best()
        leads = before is None or value > (before.value or 0.0)
        if leads:
            keep(self._kept(trial.number), trained, self.ground)
        trial.complete(value)
        for folder in self.ground.work.glob("kept-*"):
            if leads and folder != self._kept(trial.number):
                shutil.rmtree(folder, ignore_errors=True)

    def _kept(self, number: int) -> Path:
        return self.ground.work / f"kept-{number}"

    def _conclude(self, best: Told, settings: TrainSettings) -> TrainResult:
        """Train the best setting with the time that is left, and write the better of the two."""
        candidate = named(settings.model, settings.family)
        ground = replace(self.ground, settings=settings)
        kept = self._kept(best.number)
        options = [found(kept, candidate, ground)] if kept.is_dir() else []
        left_s = 0.0 if self.end is None else self.end - time.monotonic()
        if left_s > best.about["seconds"] or not options:
            self.progress.say(f"Training the best setting for {left_s:.0f} s", trial=best.number)
            budget = Budget(deadline=self.end, epochs=settings.epochs)
            try:
                options.append(ground.train(candidate, budget, "final"))
            except (InterruptedRun, DataError, StorageError):
                raise
            except ClearsightError as error:
                self.progress.say("The longer training failed", reason=error)
        chosen = max(options, key=lambda trained: trained.rank)
        folder = RunFolder(self.out / "best")
        record = RunRecord(
            state="training",
            data=self.record.data,
            fingerprint=self.record.fingerprint,
            settings=settings,
            pictures=self.record.pictures,
        )
        folder.begin(record)
        folder.write_splits(self.dataset)
        told = {"study": {"trial": best.number, "trials": self.study.ended()}}
        return conclude(folder, record, self.dataset, ground, chosen, self.started, told)

    def _told(
        self,
        best: Told,
        settings: TrainSettings,
        result: TrainResult,
        importances: dict[str, float],
    ) -> TuneResult:
        outcome = {
            "study": str(self.out),
            "run": str(result.run),
            "family": result.family,
            "seconds": round(time.monotonic() - self.started, 2),
            "evaluate": result.evaluation,
            "best": {**best.to_json(), "settings": settings.model_dump(mode="json")},
            "trials": [told.to_json() for told in self.study.trials() if told.state != "waiting"],
            "importances": importances,
            "space": self.space.to_json(),
        }
        done = self.record.model_copy(update={"state": "done", "outcome": outcome})
        write_json(self.out / "study.json", done.model_dump(mode="json"))
        shutil.rmtree(self.out / "work", ignore_errors=True)
        return TuneResult(self.out, result.run, outcome)


def _as_config(settings: TrainSettings) -> dict[str, Any]:
    """Return settings as a configuration file holds them: only what was decided."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return {name: value for name, value in values.items() if value not in ({}, [])}


def _short(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name.split(".", 1)[1]: f"{value:.3g}" if isinstance(value, float) else value
        for name, value in values.items()
    }


def _digest(settings: TrainSettings) -> str:
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:16]
