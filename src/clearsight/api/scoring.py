"""Evaluation and prediction with a RUN or a Bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearsight.core.bundle import find_bundle
from clearsight.core.errors import DataError, UsageError
from clearsight.core.progress import Progress, Silent

if TYPE_CHECKING:
    from clearsight.core.bundle import Manifest
    from clearsight.data.dataset import Dataset
    from clearsight.evaluate.evaluation import Evaluation
    from clearsight.evaluate.recognize import Row


def evaluate_run(
    run: Path,
    data: Path | None,
    out: Path | None,
    engine: str | None = None,
    progress: Progress | None = None,
    variant: str | None = None,
    test_time: str | None = None,
) -> tuple[Evaluation, Path]:
    """Score a recognizer and write the report; return the evaluation and the report's path.

    Args:
        run: RUN or Bundle.
        data: labelled pictures; None takes the test part of what RUN was trained on.
        out: the report; None writes RUN/report.html, of a variant RUN/report-VARIANT.html.
        variant: a variant of the Bundle; None scores the model of full precision.
        test_time: "flips" or "adapt", see `api.answering`; the report is RUN/report-flips.html.

    Raises:
        DataError: nothing to score, or classes the recognizer does not know.
        UsageError: a Bundle alone (without its RUN) needs `data` and `out`.
    """
    from clearsight.api.cards import update_card
    from clearsight.core.files import write_json
    from clearsight.engines.open import open_predictor
    from clearsight.evaluate.report import write_report
    from clearsight.evaluate.score import evaluate

    progress = progress or Silent()
    dataset, part = held_out(run) if data is None else labelled(data)
    bundle_only = find_bundle(run) == run
    if out is None and bundle_only:
        raise UsageError(
            f"{run} is a Bundle and stays as it is: say where to write with --out FILE."
        )
    kind = "-".join(["report", *filter(None, (variant, test_time))])
    report = out or run / f"{kind}.html"
    predictor = open_predictor(run, engine, expected_images=len(dataset.samples), variant=variant)
    if test_time is not None:
        from clearsight.api.answering import answering_with

        predictor = answering_with(predictor, test_time, run, dataset, engine)
    manifest = predictor.manifest
    progress.say(f"Scoring {len(dataset.samples)} pictures ({part})", engine=predictor.engine)
    evaluation = evaluate(predictor, dataset, progress, temperature=manifest.temperature)
    about = _about(run, manifest, part, predictor.engine, dataset)
    write_report(report, evaluation, about, dataset)
    told = {**evaluation.to_json(), "part": part} | ({"variant": variant} if variant else {})
    told |= {"test_time": test_time} if test_time else {}
    write_json(report.with_suffix(".json"), told)
    update_card(run, predictor.bundle, progress)
    return evaluation, report


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


def held_out(run: Path) -> tuple[Dataset, str]:
    """Return the test part (else the validation part) of what RUN was trained on."""
    dataset = as_trained(run)
    for part in ("test", "val"):
        held_out = dataset.part(part)
        if held_out.samples:
            return held_out, part
    raise DataError(f"{dataset.root} has neither a test nor a validation part. Give DATA to score.")


def as_trained(run: Path) -> Dataset:
    """Return what RUN was trained on, split as it was then.

    Raises:
        UsageError: a Bundle alone does not say what it was trained on.
        DataError: the data set has changed since.
    """
    from clearsight.data.dataset import read_dataset
    from clearsight.learn.run_folder import RunFolder
    from clearsight.learn.train import split_as_trained

    if not (run / "run.json").is_file():
        raise UsageError(f"{run} does not say what it was trained on. Add DATA to the command.")
    record = RunFolder(run).read()
    return split_as_trained(read_dataset(Path(record.data)), record)


def labelled(data: Path) -> tuple[Dataset, str]:
    """Return the test part of labelled pictures, or all of them where there is none."""
    from clearsight.data.dataset import read_dataset

    dataset = read_dataset(data)
    test = dataset.part("test")
    return (test, "test") if test.samples else (dataset, "all")


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
