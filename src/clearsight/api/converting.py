"""Making a RUN smaller and faster, and making a RUN out of a model from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clearsight.core.errors import DataError, UsageError
from clearsight.core.progress import Progress, Silent

if TYPE_CHECKING:
    from clearsight.convert.import_model import Imported
    from clearsight.convert.optimize import Optimized
    from clearsight.core.nouns import Task
    from clearsight.core.variants import Precision
    from clearsight.data.dataset import Dataset

FOR_CALIBRATION = 0.3
"""Share of given pictures without parts that ranges are taken from; the others judge."""


def optimize(
    run: str | Path,
    data: str | Path | None = None,
    *,
    precision: Precision = "int8",
    max_drop: float = 0.5,
    limit: int | None = None,
    keep_slower: bool = False,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Optimized:
    """Store a recognizer's model in a lower precision as a variant of its Bundle.

    Args:
        run: RUN or Bundle.
        data: labelled pictures; None takes the training and validation parts of what RUN was
            trained on. A test part is never touched.
        precision: "int8", "fp16" or "bf16".
        max_drop: most points of accuracy (of 100) that may be lost.
        limit: score a random sample of so many validation pictures.
        keep_slower: store it where it is not faster as well.
        out: a new folder for the Bundle; None replaces it in RUN.
        progress: where to report.

    Raises:
        GateError: it loses too much, or is not faster; nothing has changed.
        DataError, UsageError, MissingExtraError: see `convert.optimize.optimize`.
    """
    from clearsight.api.cards import update_card
    from clearsight.convert.optimize import optimize as convert_optimize

    folder = Path(run)
    calibration, validation = _pictures_of(folder) if data is None else _given(Path(data))
    found = convert_optimize(
        folder,
        calibration,
        validation,
        precision,
        max_drop,
        limit,
        keep_slower,
        None if out is None else Path(out),
        progress or Silent(),
    )
    if out is None:
        update_card(folder, found.bundle, progress)
    return found


def import_model(
    model: str,
    *,
    classes: str | Path,
    out: str | Path,
    preprocess: Sequence[str] = (),
    data: str | Path | None = None,
    task: Task = "single-label",
    architecture: str | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Make a RUN out of a model from elsewhere.

    Args:
        model: an ONNX, Keras or safetensors file, or "timm:NAME".
        classes: a text file with one class name a line, or a JSON list.
        out: a new folder.
        preprocess: what the model expects of its input, for example ["range=0-1", "size=224"].
        data: labelled pictures to score, calibrate and check with; a test part is not touched.
        task: what a label is.
        architecture: timm name of the network, for a safetensors file that does not say it.
        limit: use a random sample of so many pictures.
        progress: where to report.

    Raises:
        BundleError: the file is no model of a format that is read, or not safe to run.
        UsageError: something about it is not known, or said wrongly.
        GateError: the Bundle does not answer as the model does; nothing is written.
    """
    from clearsight.convert.import_model import Request
    from clearsight.convert.import_model import import_model as convert_import

    pictures = None if data is None else _given(Path(data))[1]
    request = Request(
        model=str(model),
        classes=Path(classes),
        out=Path(out),
        preprocess=tuple(preprocess),
        task=task,
        architecture=architecture,
        limit=limit,
    )
    return convert_import(request, pictures, progress or Silent())


def _pictures_of(run: Path) -> tuple[Dataset, Dataset]:
    """Return the training and the validation part of what RUN was trained on."""
    from clearsight.data.dataset import read_dataset
    from clearsight.learn.run_folder import RunFolder
    from clearsight.learn.train import split_as_trained

    if not (run / "run.json").is_file():
        raise UsageError(
            f"{run} does not say what it was trained on. Give labelled pictures with --data DATA."
        )
    record = RunFolder(run).read()
    dataset = split_as_trained(read_dataset(Path(record.data)), record)
    return dataset.part("train"), dataset.part("val")


def _given(data: Path) -> tuple[Dataset, Dataset]:
    """Return pictures for ranges and pictures that judge; the test part is left out.

    Raises:
        DataError: there is nothing but a test part, or too few pictures.
    """
    from clearsight.data.dataset import read_dataset
    from clearsight.data.split import split

    dataset = read_dataset(data)
    kept = [index for index, item in enumerate(dataset.samples) if item.part != "test"]
    if not kept:
        raise DataError(
            f"{data} has only a test part, which is for 'clearsight evaluate' alone. Give pictures "
            "of a train or val part, or class folders without parts."
        )
    dataset = dataset.select(kept)
    if not dataset.part("val").samples:
        dataset = split(dataset, 0, (FOR_CALIBRATION, 1 - FOR_CALIBRATION, 0.0))
    calibration, validation = dataset.part("train"), dataset.part("val")
    return (calibration if calibration.samples else validation), validation
