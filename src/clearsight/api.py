"""The road in Python: composes the rooms; the command line and users call the same functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearsight.core.bundle import find_bundle
from clearsight.core.durations import seconds
from clearsight.core.errors import DataError, UsageError
from clearsight.core.nouns import Prediction
from clearsight.core.progress import Progress, Silent

if TYPE_CHECKING:
    from clearsight.core.bundle import Manifest
    from clearsight.data.dataset import Dataset
    from clearsight.evaluate.comparison import Comparison
    from clearsight.evaluate.evaluation import Evaluation
    from clearsight.evaluate.recognize import Row
    from clearsight.learn.contest import Seams
    from clearsight.learn.run_folder import RunRecord
    from clearsight.learn.search.tune import TuneResult
    from clearsight.learn.settings import TrainSettings
    from clearsight.learn.train import TrainResult


class Recognizer:
    """An opened recognizer. Thread-safe.

    Args:
        path: the RUN or Bundle folder.
        engine: "openvino", "onnxruntime" or None for the best there is.

    Raises:
        BundleError: changed, incomplete or unusable.

    Example:
        >>> recognizer = load("runs/1")  # doctest: +SKIP
        >>> recognizer.predict("photo.jpg").label  # doctest: +SKIP
        'cat'
    """

    def __init__(self, path: str | Path, engine: str | None = None) -> None:
        from clearsight.engines.open import open_predictor

        self.path = Path(path)
        self._engine = engine
        self._predictor = open_predictor(self.path, engine)

    @property
    def manifest(self) -> Manifest:
        """What the Bundle says of itself."""
        return self._predictor.manifest

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return tuple(self._predictor.classes)

    def predict(self, image: str | Path | bytes, top: int = 5) -> Prediction:
        """Recognize one picture.

        Args:
            image: a path, or the encoded bytes of a picture.
            top: how many labels to return.

        Raises:
            ImageError: not a usable picture.
        """
        from clearsight.data.source import read_file

        encoded = image if isinstance(image, bytes) else read_file(image)
        return self._predictor.recognize(encoded, top)

    def evaluate(self, data: str | Path | None = None) -> Evaluation:
        """Score on `data`, or on the test part of what it was trained on; writes the report."""
        target = None if data is None else Path(data)
        return evaluate_run(self.path, target, None, engine=self._engine)[0]


def load(path: str | Path, engine: str | None = None) -> Recognizer:
    """Open a recognizer from a RUN or Bundle folder; see `Recognizer`."""
    return Recognizer(path, engine)


def train(
    data: str | Path,
    *,
    out: str | Path,
    time: str | None = None,
    epochs: float | None = None,
    model: str | None = None,
    seed: int | None = None,
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    resume: bool = False,
    progress: Progress | None = None,
) -> Recognizer:
    """Train a recognizer from a folder of labelled images and open it.

    Args:
        data: what to learn from; see the README for the layouts.
        out: a new folder for the run.
        time: wall clock until the Bundle is on disk, for example "10m" (the default).
        epochs: passes over the training pictures.
        model: "auto", a family, or a timm model name.
        seed: same seed, same split (and, with `epochs`, same weights on CPU).
        config: a TOML or JSON settings file.
        settings: single settings, for example ["split.val=0.2"].
        resume: continue the unfinished run in `out`.
        progress: where to report; None is silent.

    Raises:
        DataError, UsageError, GateError: see `learn.train.train`.
    """
    resolved = train_settings(
        config=None if config is None else Path(config),
        settings=settings,
        time=time,
        epochs=epochs,
        model=model,
        seed=seed,
    )
    result = train_run(Path(data), Path(out), resolved, progress or Silent(), None, resume)
    return Recognizer(result.run)


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
    return TrainSettings.parse(override(values, list(settings)))


def train_run(
    data: Path,
    out: Path,
    settings: TrainSettings,
    progress: Progress,
    started: float | None,
    resume: bool,
) -> TrainResult:
    """Train into RUN with every engine that is here as witness of the parity gate."""
    from clearsight.learn.train import train as learn_train

    return learn_train(data, out, settings, _seams(), progress, started, resume)


def plan_training(data: Path, settings: TrainSettings) -> dict[str, Any]:
    """Say what `train` would do with this data, without writing anything."""
    from clearsight.learn.train import plan

    return plan(data, settings)


def evaluate_run(
    run: Path,
    data: Path | None,
    out: Path | None,
    engine: str | None = None,
    progress: Progress | None = None,
) -> tuple[Evaluation, Path]:
    """Score a recognizer and write the report; return the evaluation and the report's path.

    Args:
        run: RUN or Bundle.
        data: labelled pictures; None takes the test part of what RUN was trained on.
        out: the report; None writes RUN/report.html.

    Raises:
        DataError: nothing to score, or classes the recognizer does not know.
        UsageError: a Bundle alone (without its RUN) needs `data` and `out`.
    """
    from clearsight.core.files import write_json
    from clearsight.engines.open import open_predictor
    from clearsight.evaluate.report import write_report
    from clearsight.evaluate.score import evaluate

    progress = progress or Silent()
    dataset, part = held_out(run) if data is None else _asked_for(data)
    bundle_only = find_bundle(run) == run
    if out is None and bundle_only:
        raise UsageError(
            f"{run} is a Bundle and stays as it is: say where to write with --out FILE."
        )
    report = out or run / "report.html"
    predictor = open_predictor(run, engine, expected_images=len(dataset.samples))
    manifest = predictor.manifest
    progress.say(f"Scoring {len(dataset.samples)} pictures ({part})", engine=predictor.engine)
    evaluation = evaluate(predictor, dataset, progress, temperature=manifest.temperature)
    about = _about(run, manifest, part, predictor.engine, dataset)
    write_report(report, evaluation, about, dataset)
    write_json(report.with_suffix(".json"), {**evaluation.to_json(), "part": part})
    return evaluation, report


def compare(
    runs: Sequence[str | Path],
    data: str | Path | None = None,
    *,
    engine: str | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Score recognizers on the same pictures and say which of them differ.

    Args:
        runs: two or more RUN or Bundle folders.
        data: labelled pictures; None takes the held-out part that all of them share.
        engine: "openvino", "onnxruntime" or None for the fastest there is.
        limit: score a random sample of so many pictures, the same for all.
        progress: where to report; None is silent.

    Raises:
        UsageError: fewer than two recognizers, or their held-out pictures differ and no `data`
            was given.
        DataError: no picture that can be scored, or a class that a recognizer does not know.

    Example:
        >>> found = compare(["runs/1", "runs/2"])  # doctest: +SKIP
        >>> [(item.contender.name, item.group) for item in found.standings]  # doctest: +SKIP
        [('2', 'a'), ('1', 'b')]
    """
    folders = [Path(run) for run in runs]
    names = [folder.resolve().name for folder in folders]
    named = {
        name if names.count(name) == 1 else str(folder): folder
        for name, folder in zip(names, folders, strict=True)
    }
    if len(folders) < 2 or len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError(
            "Comparing needs two or more different recognizers; got "
            f"{', '.join(map(str, folders)) or 'none'}."
        )
    target = None if data is None else Path(data)
    return compare_runs(named, target, engine, limit, None, progress or Silent())


def compare_runs(
    runs: Mapping[str, Path],
    data: Path | None,
    engine: str | None,
    limit: int | None,
    scoring_s: float | None,
    progress: Progress,
) -> Comparison:
    """Compare recognizers under given names; see `compare` and `evaluate.comparison.compare`."""
    from clearsight.engines.open import open_predictor
    from clearsight.evaluate.comparison import Contender
    from clearsight.evaluate.comparison import compare as compare_contenders
    from clearsight.learn.run_folder import RunFolder

    dataset, part = _held_out_by_all(list(runs.values())) if data is None else _asked_for(data)
    contenders = []
    for name, run in runs.items():
        record = RunFolder(run).read() if (run / "run.json").is_file() else None
        contenders.append(
            Contender(
                name=name,
                predictor=open_predictor(run, engine, expected_images=len(dataset)),
                run=run,
                train_s=record.outcome.get("seconds") if record else None,
            )
        )
    return compare_contenders(contenders, dataset, part, progress, limit, scoring_s)


def predict_paths(
    run: Path,
    paths: Sequence[Path],
    out: Path | None,
    top: int | None = None,
    engine: str | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Recognize files and folders; write the table when `out` is given.

    Args:
        run: RUN or Bundle.
        paths: pictures, or folders searched for pictures.
        out: .csv, .jsonl or .parquet file, replaced crash-safely.
        top: how many labels a picture; None gives every class.

    Raises:
        UsageError: a path that does not exist, or a table format that is not known.
    """
    from clearsight.data.tables import check_table_path, write_table
    from clearsight.engines.open import open_predictor
    from clearsight.evaluate.recognize import find_pictures, recognize_files

    if out is not None:
        check_table_path(out)
    files = find_pictures(paths)
    predictor = open_predictor(run, engine, expected_images=len(files))
    rows = list(recognize_files(predictor, files, top, progress or Silent()))
    if out is not None:
        write_table(out, [row.to_json() for row in rows])
    return rows


def _seams() -> Seams:
    from functools import partial

    from clearsight.engines.open import capabilities, open_predictor, open_session
    from clearsight.evaluate.card import model_card
    from clearsight.evaluate.figures import judge
    from clearsight.learn.contest import Seams

    usable = [state.engine for state in capabilities() if state.usable]
    return Seams(
        open_model=open_session,
        predictors={name: partial(open_predictor, engine=name) for name in usable},
        judge=judge,
        card=model_card,
    )


def held_out(run: Path) -> tuple[Dataset, str]:
    """Return the test part (else the validation part) of what RUN was trained on."""
    from clearsight.data.dataset import read_dataset
    from clearsight.learn.run_folder import RunFolder
    from clearsight.learn.train import split_as_trained

    if not (run / "run.json").is_file():
        raise UsageError(f"{run} does not say what it was trained on. Add DATA to the command.")
    record = RunFolder(run).read()
    dataset = split_as_trained(read_dataset(Path(record.data)), record)
    for part in ("test", "val"):
        held_out = dataset.part(part)
        if held_out.samples:
            return held_out, part
    raise DataError(f"{record.data} has neither a test nor a validation part. Give DATA to score.")


def _asked_for(data: Path) -> tuple[Dataset, str]:
    from clearsight.data.dataset import read_dataset

    dataset = read_dataset(data)
    test = dataset.part("test")
    return (test, "test") if test.samples else (dataset, "all")


def _held_out_by_all(runs: Sequence[Path]) -> tuple[Dataset, str]:
    """Return the held-out pictures of the first run, which must be those of every other.

    Runs of the same data with the same split settings share them without looking again; of
    others the pictures themselves are compared.

    Raises:
        UsageError: they differ.
    """
    from clearsight.data.fingerprint import fingerprint
    from clearsight.learn.run_folder import RunFolder

    first, part = held_out(runs[0])
    wanted, seen = fingerprint(first), {_split_of(RunFolder(runs[0]).read())}
    for run in runs[1:]:
        dataset, own_part = (
            (first, part)
            if (run / "run.json").is_file() and _split_of(RunFolder(run).read()) in seen
            else held_out(run)
        )
        if own_part != part or fingerprint(dataset) != wanted:
            raise UsageError(
                f"{run} and {runs[0]} hold out different pictures ({len(dataset)} in its "
                f"{own_part} part, {len(first)} in the other's {part} part), so their figures "
                "cannot be compared. Give pictures that none of them has learnt from with "
                "--data DATA, or train both on the same data with the same --seed."
            )
        seen.add(_split_of(RunFolder(run).read()))
    return first, part


def _split_of(record: RunRecord) -> tuple[str, str, int, str]:
    settings = record.settings
    return record.data, record.fingerprint, settings.seed, settings.split.model_dump_json()


def _about(
    run: Path, manifest: Manifest, part: str, engine: str, dataset: Dataset
) -> dict[str, Any]:
    """Return what the report tells beside the figures."""
    from clearsight.learn.run_folder import RunFolder

    about = manifest.model_dump(mode="json", exclude={"files"})
    folder = RunFolder(run)
    record = folder.read() if (run / "run.json").is_file() else None
    return about | {
        "run": str(run),
        "data": str(dataset.root),
        "part": part,
        "engine": engine,
        "outcome": record.outcome if record else {},
        "sheet": folder.sheet.read_bytes() if folder.sheet.is_file() else None,
    }
