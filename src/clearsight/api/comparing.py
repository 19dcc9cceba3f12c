"""Recognizers side by side on the pictures that all of them held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clearsight.api.scoring import held_out, labelled
from clearsight.core.errors import UsageError
from clearsight.core.progress import Progress, Silent

if TYPE_CHECKING:
    from clearsight.data.dataset import Dataset
    from clearsight.evaluate.comparison import Comparison
    from clearsight.learn.run_folder import RunRecord


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

    dataset, part = _held_out_by_all(list(runs.values())) if data is None else labelled(data)
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
