"""Recognizes many files: decode in threads, infer in batches, one row a file, errors named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clearsight.core.errors import ImageError, UsageError
from clearsight.core.nouns import Prediction, Predictor, Task
from clearsight.core.progress import Progress, Silent
from clearsight.data.source import read_file
from clearsight.engines.predictor import BundlePredictor, predictions
from clearsight.evaluate.prepared import Batch, prepared

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
)


@dataclass(frozen=True)
class Row:
    """What was recognized in one file.

    Args:
        path: the file as it was given.
        prediction: None when the file is no usable picture.
        error: why not; None when it is.
        task: the recognizer's.
        sets: the recognizer gives conformal sets.
    """

    path: str
    prediction: Prediction | None
    error: str | None
    task: Task = "single-label"
    sets: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return DESIGN's fields: path, label, score, scores, accepted, error.

        Beside them `set` (classes of which the true one is among) where the recognizer gives
        conformal sets, `labels` (the classes that are present) of a multi-label recognizer, and
        `rank` (the mean position on the scale) of an ordinal one.
        """
        if self.prediction is None:
            empty = dict.fromkeys(("label", "score", "scores", "accepted"))
            return {"path": self.path, **empty, "error": self.error, **self._of_the_task()}
        found = self.prediction
        return {
            "path": self.path,
            "label": found.label,
            "score": found.score,
            "scores": dict(zip(found.labels, found.scores, strict=True)),
            "accepted": found.accepted,
            "error": None,
            **self._of_the_task(),
        }

    def _of_the_task(self) -> dict[str, Any]:
        found, told = self.prediction, dict[str, Any]()
        if self.sets:
            told["set"] = None if found is None else list(found.set or ())
        if self.task == "multi-label":
            told["labels"] = None if found is None else list(found.present or ())
        elif self.task == "ordinal":
            told["rank"] = None if found is None else found.rank
        return told

    def line(self) -> str:
        """Return one line for a person."""
        if self.prediction is None:
            return f"{self.path}: error: {self.error}"
        pairs = zip(self.prediction.labels, self.prediction.scores, strict=True)
        best = ", ".join(f"{label} {score:.3f}" for label, score in list(pairs)[:3])
        if self.prediction.present is not None:
            best = f"[{', '.join(self.prediction.present) or 'none'}] {best}"
        if self.prediction.rank is not None:
            best = f"{best}, rank {self.prediction.rank:.2f}"
        if self.prediction.set is not None:
            best = f"{best}; one of {{{', '.join(self.prediction.set)}}}"
        return f"{self.path}: {best}{'' if self.prediction.accepted else ' (not sure)'}"


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """Return the files meant: a file stands for itself, a folder for every picture below it.

    Args:
        paths: files and folders. Below a folder, files with a picture's suffix count; hidden
            files and folders do not.

    Raises:
        UsageError: a path that does not exist, or no picture at all.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(_below(path))
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"{path} does not exist. Give pictures or folders of pictures.")
    if not found:
        raise UsageError(
            f"No picture in {', '.join(map(str, paths))}. Looked for {', '.join(sorted(SUFFIXES))}."
        )
    return found


def recognize_files(
    predictor: Predictor,
    files: Sequence[Path],
    top: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Row]:
    """Yield one row a file, in order; a damaged file becomes a row with an error.

    Args:
        predictor: an opened recognizer.
        files: the pictures.
        top: how many labels a row; None gives every class.
        progress: told of each batch.
    """
    progress = progress or Silent()
    progress.start("predict", len(files), "images")
    for batch in prepared(predictor, lambda index: read_file(files[index]), len(files)):
        yield from _rows(predictor, files, batch, top)
        progress.advance(len(batch))
    progress.finish()


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(root, name)


def _rows(
    predictor: Predictor, files: Sequence[Path], batch: Batch, top: int | None
) -> Iterator[Row]:
    good = [image for _, image in batch if not isinstance(image, ImageError)]
    top = top or len(predictor.classes)
    found = iter(predictions(predictor, np.stack(good), top) if good else ())
    sets = isinstance(predictor, BundlePredictor) and predictor.manifest.conformal is not None
    for index, image in batch:
        path, task = str(files[index]), predictor.task
        if isinstance(image, ImageError):
            yield Row(path, None, image.detail, task, sets)
        else:
            yield Row(path, next(found), None, task, sets)
