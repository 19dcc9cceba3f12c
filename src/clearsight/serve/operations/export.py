"""Corrections become a data set that `clearsight train` reads."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from clearsight.core.errors import DataError
from clearsight.core.files import new_folder, storage_errors
from clearsight.serve.operations.feedback import Correction, corrections, picture_path

MANIFEST = "manifest.csv"
PICTURES = "pictures"


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of every correction: found = exported + without_picture + replaced + others.

    Args:
        found: corrections in the store.
        exported: pictures in the new data set.
        without_picture: corrections whose picture was not sent.
        replaced: corrections of a picture that a later one corrected again.
        others: corrections of models that were not asked for.
        labels: pictures a label.
    """

    found: int
    exported: int
    without_picture: int
    replaced: int
    others: int
    labels: dict[str, int]


def export(store: Path, out: Path, model: str | None = None) -> Exported:
    """Write a folder with `manifest.csv` and the corrected pictures.

    Of several corrections of one picture the newest counts. The store is not changed.

    Args:
        store: the service's store folder.
        out: a new folder.
        model: only corrections of this model's answers; None takes all.

    Raises:
        DataError: no correction with a picture is there; nothing is written.
        StorageError: `out` exists, or an I/O failure; nothing is left.
    """
    found = list(corrections(store))
    wanted = [one for one in found if model is None or one.model == model]
    shown = [one for one in wanted if one.picture]
    newest: dict[str, Correction] = {one.picture: one for one in shown}
    if not newest:
        raise DataError(
            f"There is no corrected picture to export: {len(found)} corrections, "
            f"{len(found) - len(wanted)} of other models, {len(wanted) - len(shown)} without a "
            "picture. Send the picture with the correction: see docs/how-to/collect-corrections.md."
        )
    with new_folder(out) as staged, storage_errors(out):
        (staged / PICTURES).mkdir()
        for one in newest.values():
            content = picture_path(store, one).read_bytes()
            (staged / PICTURES / one.picture).write_bytes(content)
        (staged / MANIFEST).write_text(_manifest(list(newest.values())), encoding="utf-8")
    labels: dict[str, int] = {}
    for one in newest.values():
        labels[one.label] = labels.get(one.label, 0) + 1
    return Exported(
        found=len(found),
        exported=len(newest),
        without_picture=len(wanted) - len(shown),
        replaced=len(shown) - len(newest),
        others=len(found) - len(wanted),
        labels=dict(sorted(labels.items())),
    )


def _manifest(chosen: list[Correction]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["path", "label", "predicted", "model", "version"])
    for one in chosen:
        row = [f"{PICTURES}/{one.picture}", one.label, one.predicted, one.model, one.version]
        writer.writerow(row)
    return stream.getvalue()
