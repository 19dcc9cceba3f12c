"""One Optuna study in one SQLite file: opened only when it is ours, every trial on disk at once."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearsight.core.errors import ClearsightError, DataError, MissingExtraError, StorageError
from clearsight.core.seeds import derive_seed
from clearsight.learn.search.space import Axis, Space

NAME = "clearsight"
MODEL, IDENTITY = "model", "identity"
DEATHS = 10
"""A trial under which the process has ended so often is not tried again."""
STARTUP_TRIALS = 8
"""Trials at random before the sampler learns from them, and before any is pruned."""
REPORT_STEPS = 20
WARM_UP_STEPS = 4
SQLITE = b"SQLite format 3\x00"
OURS = "SELECT 1 FROM studies WHERE study_name = ?"
TOLD = (
    "SELECT value_json FROM study_user_attributes JOIN studies USING (study_id) "
    "WHERE study_name = ? AND key = ?"
)
KEPT = "It was not changed. Start a new study with another --out."


@dataclass(frozen=True)
class Told:
    """A trial as the study holds it.

    Args:
        number: counted from 0.
        state: "complete", "pruned", "fail", "running" or "waiting".
        value: the objective; None unless complete.
        parameters: what was drawn.
        about: what was noted: model, settings, seconds, error.
    """

    number: int
    state: str
    value: float | None
    parameters: dict[str, Any]
    about: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "number": self.number,
            "state": self.state,
            "value": self.value,
            "parameters": self.parameters,
            **self.about,
        }


class Study:
    """The study in a file.

    Args:
        path: the file; made when missing.
        space: what is varied.
        seed: of the sampler.
        identity: what the study belongs to (data, settings); another one's study is refused.

    Raises:
        StorageError: the file is damaged, or no study of ours; it is left as it is.
        DataError: the study belongs to other data or settings.
        MissingExtraError: Optuna is not installed.
    """

    def __init__(self, path: Path, space: Space, seed: int, identity: Mapping[str, str]) -> None:
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise MissingExtraError("optuna", "train", "A study") from error
        self._optuna, self._space, self._seed = optuna, space, seed
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if path.exists():
            _check_ours(path, identity)
        pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS, WARM_UP_STEPS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._study = optuna.create_study(
                    storage=f"sqlite:///{path.resolve()}",
                    study_name=NAME,
                    direction="maximize",
                    pruner=pruner,
                    load_if_exists=True,
                )
            except Exception as error:
                raise StorageError(f"{path} cannot be opened as a study: {error}.") from error
        if IDENTITY not in self._study.user_attrs:
            self._begin_with_defaults()
            self._study.set_user_attr(IDENTITY, dict(identity))

    def trials(self) -> list[Told]:
        """Return every trial there is, in order."""
        return [
            Told(
                one.number,
                one.state.name.lower(),
                one.value if one.state.name == "COMPLETE" else None,
                dict(one.params),
                _about(one),
            )
            for one in self._study.get_trials(deepcopy=False)
        ]

    def ended(self) -> int:
        """Return how many trials have come to an end by themselves."""
        return sum(told.state in ("complete", "pruned") or _failed(told) for told in self.trials())

    def clear_dead(self) -> list[int]:
        """Mark trials of a dead process as failed, queue them again, and return their numbers.

        One whose process has died DEATHS times is not tried again: it may be why.
        """
        from optuna.trial import TrialState

        dead = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for one in dead:
            deaths = one.user_attrs.get("deaths", 0) + 1
            drawn = {**one.user_attrs.get("drawn", {}), **one.params}
            self._study.tell(one.number, state=TrialState.FAIL)
            if deaths < DEATHS:
                self._queue(drawn, deaths=deaths)
        return [one.number for one in dead]

    def ask(self) -> Trial:
        """Draw the next trial.

        The sampler is seeded by how many have ended, so a study that was killed draws what it
        would have drawn.
        """
        seed = derive_seed(self._seed, "trial", self.ended()) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.sampler = self._optuna.samplers.TPESampler(
                seed=seed,
                multivariate=True,
                group=True,
                n_startup_trials=STARTUP_TRIALS,
                warn_independent_sampling=False,
            )
            trial = self._study.ask()
            return Trial(self._optuna, self._study, trial, self._space)

    def best(self) -> Told | None:
        """Return the best complete trial, the first of equals, or None."""
        complete = [told for told in self.trials() if told.value is not None]
        return max(complete, key=lambda told: told.value or 0.0, default=None)

    def importances(self) -> dict[str, float]:
        """Return how much each parameter decides about being among the best; empty when unknown.

        Source: PED-ANOVA, Watanabe et al. 2023, "PED-ANOVA: Efficiently Quantifying
        Hyperparameter Importance in Arbitrary Subspaces".
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = get_param_importances(
                    self._study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25)
                )
        except (ValueError, RuntimeError):  # too few trials, or all alike
            return {}
        return {name: float(value) for name, value in found.items() if value == value}

    def _begin_with_defaults(self) -> None:
        """Queue each model as it is by default: a study is never worse than no study."""
        for model, axes in self._space.axes.items():
            first = {_parameter(model, axis): axis.default for axis in axes}
            self._queue({MODEL: model, **first})

    def _queue(self, drawn: dict[str, Any], **about: Any) -> None:
        """Have a trial tried next; a kill may come before what was drawn is on disk."""
        about["drawn"] = drawn
        self._study.enqueue_trial(drawn, user_attrs=about, skip_if_exists=not about.get("deaths"))


class Trial:
    """One trial under way.

    Args:
        optuna, study, trial: the library's.
        space: what is varied.
    """

    def __init__(self, optuna: Any, study: Any, trial: Any, space: Space) -> None:
        self._optuna, self._study, self._trial = optuna, study, trial
        self.number: int = trial.number
        self.model: str = trial.suggest_categorical(MODEL, list(space.axes))
        self.values: dict[str, Any] = {}
        for axis in space.axes[self.model]:
            self.values |= axis.values(self._draw(axis))
        self._last = -1

    def note(self, **about: Any) -> None:
        """Write down facts of this trial."""
        for name, value in about.items():
            self._trial.set_user_attr(name, value)

    def report(self, done: float, value: float) -> None:
        """Tell how good it is after part `done` of its training.

        Raises:
            Pruned: it is worse there than the median of the others.
        """
        step = min(REPORT_STEPS, int(done * REPORT_STEPS))
        if step <= self._last:
            return
        self._last = step
        self._trial.report(value, step)
        if done < 1 and self._trial.should_prune():
            raise Pruned

    def complete(self, value: float) -> None:
        """End it with its objective; on disk when this returns."""
        self._study.tell(self._trial, value)

    def prune(self) -> None:
        """End it as pruned."""
        self._study.tell(self._trial, state=self._optuna.trial.TrialState.PRUNED)

    def fail(self, error: str) -> None:
        """End it as failed."""
        self.note(error=error)
        self._study.tell(self._trial, state=self._optuna.trial.TrialState.FAIL)

    def _draw(self, axis: Axis) -> Any:
        name = _parameter(self.model, axis)
        if axis.choices is not None:
            return self._trial.suggest_categorical(name, list(axis.choices))
        if axis.whole:
            return self._trial.suggest_int(name, int(axis.low), int(axis.high), log=axis.log)
        return self._trial.suggest_float(name, axis.low, axis.high, log=axis.log)


class Pruned(ClearsightError):  # noqa: N818 - an event, not a fault
    """A trial is worse than the median of the others at the same point."""


def _about(one: Any) -> dict[str, Any]:
    """Return what was noted of a trial, and why it is not tried again."""
    about = {k: v for k, v in one.user_attrs.items() if k not in ("deaths", "drawn")}
    if one.state.name == "FAIL" and one.user_attrs.get("deaths", 0) + 1 >= DEATHS:
        about.setdefault("error", f"its process ended {DEATHS} times")
    return about


def _failed(told: Told) -> bool:
    return told.state == "fail" and "error" in told.about


def _parameter(model: str, axis: Axis) -> str:
    return f"{model}: {axis.name}"


def _check_ours(path: Path, identity: Mapping[str, str]) -> None:
    """Look at a copy of the file, so that one that is not ours stays as it is.

    Raises:
        StorageError, DataError: see `Study`.
    """
    if not path.read_bytes()[: len(SQLITE)] == SQLITE:
        raise StorageError(f"{path} is not a study: it is no SQLite file. {KEPT}")
    with tempfile.TemporaryDirectory() as folder:
        for file in path.parent.glob(f"{path.name}*"):  # with the journal a kill left behind
            shutil.copy(file, folder)
        try:
            with closing(sqlite3.connect(Path(folder) / path.name)) as copy:
                health = copy.execute("PRAGMA integrity_check").fetchone()[0]
                ours = copy.execute(OURS, (NAME,)).fetchone() is not None
                told = copy.execute(TOLD, (NAME, IDENTITY)).fetchone()
            known = json.loads(told[0]) if told else {}
        except (sqlite3.Error, ValueError) as error:
            raise StorageError(f"{path} is no study of clearsight ({error}). {KEPT}") from error
    if health != "ok" or not ours:
        raise StorageError(f"{path} is damaged, or no study of clearsight. {KEPT}")
    for name, value in identity.items():
        if known and known.get(name) != value:
            raise DataError(f"{path} is a study of other {name}. {KEPT}")
