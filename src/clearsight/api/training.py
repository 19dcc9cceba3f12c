"""From settings to a RUN or a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearsight.core.durations import seconds
from clearsight.core.progress import Progress, Silent

if TYPE_CHECKING:
    from clearsight.learn.contest import Seams
    from clearsight.learn.search.tune import TuneResult
    from clearsight.learn.settings import TrainSettings
    from clearsight.learn.train import TrainResult


def tune(
    data: str | Path,
    *,
    out: str | Path,
    time: str | None = None,
    trials: int | None = None,
    models: Sequence[str] = (),
    seed: int | None = None,
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    resume: bool = False,
    progress: Progress | None = None,
    started: float | None = None,
) -> TuneResult:
    """Search for the best settings within a time; write the study, its report and the best run.

    Args:
        data: what to learn from.
        out: a new folder for the study.
        time: wall clock of the whole study, for example "30m" (10 minutes by default).
        trials: how many settings are tried; None lets the time decide.
        models: what to search over; none takes those that "auto" knows for such pictures.
        seed: same seed, same split and draws.
        config: a TOML or JSON settings file; what it decides is not searched.
        settings: single settings, for example ["training.lr=0.01"]; they are not searched.
        resume: continue the unfinished study in `out`.
        progress: where to report; None is silent.
        started: `time.monotonic()` from which the time counts; None is now.

    Raises:
        DataError, UsageError, StorageError: see `learn.search.tune.tune`.
    """
    from clearsight.evaluate.study_report import write_study_report
    from clearsight.learn.search.tune import tune as learn_tune

    asked = time is not None or seed is not None or config is not None or bool(settings)
    resolved = _study_settings(time, seed, config, settings) if asked or not resume else None
    found = learn_tune(
        Path(data),
        Path(out),
        resolved,
        _seams(),
        progress or Silent(),
        models,
        trials,
        started,
        resume,
    )
    write_study_report(found.study / "report.html", found.outcome)
    return found


def plan_study(
    data: str | Path,
    time: str | None = None,
    trials: int | None = None,
    models: Sequence[str] = (),
    seed: int | None = None,
    config: str | Path | None = None,
    settings: Sequence[str] = (),
) -> dict[str, Any]:
    """Say what `tune` would search, without writing anything."""
    from clearsight.learn.search.tune import plan_study as learn_plan

    return learn_plan(Path(data), _study_settings(time, seed, config, settings), models, trials)


def _study_settings(
    time: str | None, seed: int | None, config: str | Path | None, settings: Sequence[str]
) -> TrainSettings:
    file = None if config is None else Path(config)
    return train_settings(file, settings, time, None, None, seed)


def train_settings(
    config: Path | None,
    settings: Sequence[str],
    time: str | None,
    epochs: float | None,
    model: str | None,
    seed: int | None,
    harden: str | None = None,
) -> TrainSettings:
    """Resolve settings: file first, then options, then single settings; the later one wins.

    Raises:
        ConfigError: an unknown name (with the nearest) or a wrong value.
    """
    from clearsight.core.config import override, read_config_file
    from clearsight.learn.settings import TrainSettings

    values = read_config_file(config) if config else {}
    options = {
        "time_s": None if time is None else seconds(time),
        "epochs": epochs,
        "model": model,
        "seed": seed,
    }
    values |= {name: value for name, value in options.items() if value is not None}
    hardened = [] if harden is None else [f"harden={harden}"]
    return TrainSettings.parse(override(values, [*hardened, *settings]))


def train_run(
    data: Path,
    out: Path,
    settings: TrainSettings,
    progress: Progress,
    started: float | None,
    resume: bool,
) -> TrainResult:
    """Train into RUN with every engine that is here as witness of the parity gate."""
    from clearsight.api.cards import update_card
    from clearsight.learn.train import train as learn_train

    trained = learn_train(data, out, settings, _seams(), progress, started, resume)
    update_card(trained.run, trained.bundle, progress)
    return trained


def plan_training(data: Path, settings: TrainSettings) -> dict[str, Any]:
    """Say what `train` would do with this data, without writing anything."""
    from clearsight.learn.train import plan

    return plan(data, settings)


def _seams() -> Seams:
    from functools import partial

    from clearsight.engines.open import FEW_IMAGES, capabilities, open_predictor, open_session
    from clearsight.evaluate.card import model_card
    from clearsight.evaluate.figures import judge
    from clearsight.learn.contest import Seams

    usable = [state.engine for state in capabilities() if state.usable]
    return Seams(
        open_model=open_session,
        open_for_few=partial(open_session, expected_images=FEW_IMAGES),
        predictors={name: partial(open_predictor, engine=name) for name in usable},
        judge=judge,
        card=model_card,
    )
